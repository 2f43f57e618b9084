//! Templates against what Go 1.24's text/template makes of them.

use serde_json::{Value, json};

use super::*;

fn data() -> Value {
    json!({
        "Id": "abc", "Name": "/web", "Nil": null,
        "State": {"Pid": 42, "Running": true, "Status": "running"},
        "Config": {"Labels": {"b": "2", "a": "1", "com.x": "y"}, "Env": ["A=1", "B=2"]},
        "Mounts": [{"Source": "/s", "Destination": "/d"}, {"Source": "/t", "Destination": "/e"}],
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": null}},
        "Args": ["x", "y"],
    })
}

fn render(text: &str) -> String {
    Template::parse(text).unwrap().render(&data()).unwrap()
}

fn fails(text: &str) -> String {
    match Template::parse(text) {
        Err(error) => error.to_string(),
        Ok(template) => template.render(&data()).unwrap_err().to_string(),
    }
}

#[test]
fn what_people_type_works() {
    let cases = [
        ("{{.State.Pid}}", "42"),
        ("{{.Name}} is {{.State.Status}}", "/web is running"),
        ("{{json .Args}}", "[\"x\",\"y\"]"),
        ("{{json .State.Running}}", "true"),
        ("{{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}", "/s:/d /t:/e "),
        (r#"{{index .Config.Labels "com.x"}}"#, "y"),
        (r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#, "8080"),
        (
            r#"{{range $p, $conf := .NetworkSettings.Ports}}{{$p}} -> {{if $conf}}{{(index $conf 0).HostPort}}{{end}};{{end}}"#,
            "80/tcp -> 8080;81/tcp -> ;",
        ),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}", "a=1 b=2 com.x=y "),
        (r#"{{join .Args ", "}}"#, "x, y"),
        (
            "{{upper .State.Status}} {{lower \"ABC\"}} {{title \"two words\"}}",
            "RUNNING abc Two Words",
        ),
        (r#"{{split "a,b" ","}}"#, "[a b]"),
        ("{{truncate .State.Status 3}}|{{pad .Id 1 2}}|", "run| abc  |"),
        ("{{println .Id}}", "abc\n"),
        (r#"{{slice .Id 1}} {{slice .Args 0 1}}"#, "bc [x]"),
        ("{{.State.Status | upper | printf \"%-10s|\"}}", "RUNNING   |"),
        ("{{.Args}} {{.Config.Labels}}", "[x y] map[a:1 b:2 com.x:y]"),
        ("{{len .Args}} {{len .Nil}}", "2 0"),
        ("{{html \"<a>\"}} {{urlquery \"a b/\"}} {{js \"it's\"}}", "&lt;a&gt; a+b%2F it\\'s"),
    ];
    for (text, expected) in cases {
        assert_eq!(render(text), expected, "{text}");
    }
}

#[test]
fn control_structures_are_gos() {
    let cases = [
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Nil}}a{{else if eq .State.Pid 42}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Pid}} {{$.Id}}{{end}}", "42 abc"),
        ("{{with .Nil}}x{{else with .Id}}{{.}}{{end}}", "abc"),
        ("{{range .Nil}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $e := .Args}}{{if $i}},{{end}}{{$e}}{{end}}", "x,y"),
        ("{{range .Args}}{{if eq . \"y\"}}{{continue}}{{end}}{{.}}{{end}}", "x"),
        ("{{range .Args}}{{.}}{{break}}{{end}}", "x"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("{{define \"T\"}}<{{.}}>{{end}}{{template \"T\" .Id}}", "<abc>"),
        ("{{block \"B\" .Id}}[{{.}}]{{end}}", "[abc]"),
        ("a  {{- .Id -}}  b", "aabcb"),
        ("{{/* nothing */}}x{{- /* nor this */ -}} y", "xy"),
        ("{{and .Id .Nil}} {{or .Nil .Id}} {{not .Nil}}", "<no value> abc true"),
        ("{{eq .Id \"x\" \"abc\"}} {{ne 1 2}} {{lt 1 2}} {{ge 2.5 2}}", "true true true true"),
        ("{{-3}}{{\"a\\tb\\u00e4\"}}{{`r\\aw`}}{{'a'}}{{0x10}}", "-3a\tbär\\aw9716"),
    ];
    for (text, expected) in cases {
        assert_eq!(render(text), expected, "{text}");
    }
}

#[test]
fn printf_knows_gos_verbs() {
    let cases = [
        (
            r#"{{printf "%s=%d %v %q %t" .Id .State.Pid .Args .Name true}}"#,
            r#"abc=42 [x y] "/web" true"#,
        ),
        (r#"{{printf "%5d|%-5d|%05d|%+d" 42 42 42 42}}"#, "   42|42   |00042|+42"),
        (r#"{{printf "%x %X %o %b %c %#x" 255 255 8 5 65 255}}"#, "ff FF 10 101 A 0xff"),
        (r#"{{printf "%.2f %6.1f %e" 3.14159 2.5 1500.0}}"#, "3.14    2.5 1.500000e+03"),
        (r#"{{printf "%.2s|%8s|%%" .State.Status "x"}}"#, "ru|       x|%"),
        (
            r#"{{printf "%d" "x"}} {{printf "%s"}} {{printf "a" 1}}"#,
            "%!d(string=x) %!s(MISSING) a%!(EXTRA int=1)",
        ),
        (r#"{{print 1 2 "a" 3}}"#, "1 2a3"),
        (r#"{{printf "%v %v %g" 1e6 123456789.5 0.00001}}"#, "1e+06 1.234567895e+08 1e-05"),
        (r#"{{1e3}} {{.5}} {{017}} {{"\101\x42"}}"#, "1000 0.5 15 AB"),
        (r#"{{printf "% x %#q %q %s" "hi" "a" .Args nil}}"#, "68 69 `a` [\"x\" \"y\"] %!s(<nil>)"),
        (r#"{{index "abc" 1}} {{title "it's foo_bar"}}"#, "98 It'S Foo_bar"),
    ];
    for (text, expected) in cases {
        assert_eq!(render(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    assert_eq!(render("{{.Config.Labels.nope}}"), "<no value>");
    assert_eq!(render(r#"{{index .Config.Labels "nope"}}"#), "");
    assert_eq!(render("{{if .Config.Labels.nope}}x{{end}}"), "");
    let cases = [
        ("{{.Foo}}", "template: :1: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        (
            "a\n{{.State.Foo}}",
            "template: :2: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\"",
        ),
        ("{{.Id.x}}", "template: :1: executing \"\" at <.Id.x>: can't evaluate field x in abc"),
        (
            "{{index .Args 9}}",
            "template: :1: executing \"\" at <index>: error calling index: index out of range: 9",
        ),
        ("{{", "template: :1: unclosed action"),
        ("{{if .Id}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{nope .}}", "template: :1: function \"nope\" not defined"),
        ("{{\"a}}", "template: :1: unterminated quoted string"),
        (
            "{{eq 1 \"a\"}}",
            "template: :1: executing \"\" at <eq>: error calling eq: incompatible types for comparison",
        ),
        ("{{nil}}", "template: :1: nil is not a command"),
        ("{{range}}", "template: :1: missing value for range"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("{{$x}}", "template: :1: executing \"\" at <$x>: undefined variable: $x"),
        (
            "{{range .Id}}{{end}}",
            "template: :1: executing \"\" at <.Id>: range can't iterate over abc",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(fails(text), expected, "{text}");
    }
}

#[test]
fn no_template_can_exhaust_the_stack() {
    assert!(
        fails(&"{{(".repeat(5000)).contains("unclosed action")
            || fails(&format!("{{{{{}", "(".repeat(5000))).contains("nested")
    );
    assert!(
        fails("{{define \"T\"}}{{template \"T\"}}{{end}}{{template \"T\"}}")
            .contains("maximum template depth")
    );
    assert!(fails(&"{{if 1}}".repeat(5000)).contains("nested too deeply"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_template_or_an_error(text in "\\PC{0,40}") {
        let _ = Template::parse(&text).map(|template| template.render(&data()));
    }

    #[test]
    fn any_tokens_are_a_template_or_an_error(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "{{", "}}", "{{-", "-}}", ".", ".A", "$x", "|", ":=", "=", ",", "(", ")", "if ", "range ",
                "else ", "end", "with ", "\"s\"", "1", "index ", "printf ", "\"%*.3d\"", " ", "nil", "'",
            ]), 0..20)
    ) {
        let _ = Template::parse(&pieces.concat()).map(|template| template.render(&data()));
    }
}
