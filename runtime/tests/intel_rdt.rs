//! `linux.intelRdt` where there is no resctrl: refused before anything is made.
//! What is done to a resctrl is tested beside the code, on a directory like one.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod bundle;

use bundle::{Bundle, text};
use rcnt_runtime::intel_rdt::Resctrl;
use serde_json::json;

#[test]
fn shares_are_refused_in_runcs_words_where_there_is_no_resctrl() {
    let Some(bundle) = Bundle::new("sleep 60") else { return };
    if Resctrl::find().is_ok() {
        println!("skipped: this machine has resctrl");
        return;
    }
    let id = bundle.id("a");
    bundle.configure(|config| config["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=f"}));
    let output = bundle.oci(&["run", &id]);
    assert!(!output.status.success());
    let words = "intelRdt is specified in config, but Intel RDT is not enabled";
    assert!(text(&output.stderr).contains(words), "{output:?}");
    assert_eq!(text(&bundle.oci(&["list", "-q"]).stdout), "");

    bundle.configure(|config| config["linux"]["intelRdt"] = serde_json::Value::Null);
    bundle.detached(&id);
    for (option, words) in [
        ("--l3-cache-schema", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("--mem-bw-schema", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ] {
        let output = bundle.oci(&["update", option, "L3:0=f", &id]);
        assert!(!output.status.success() && text(&output.stderr).contains(words), "{output:?}");
    }
    assert!(bundle.oci(&["delete", "--force", &id]).status.success());
}
