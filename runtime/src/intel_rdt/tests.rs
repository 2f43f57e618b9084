#![allow(clippy::disallowed_methods)] // a directory like resctrl is written as the kernel would

use std::fs;
use std::path::Path;

use super::*;

/// A directory shaped like resctrl on a machine with `info`'s kinds of shares.
/// Files that the kernel would make in a new group are made by [`furnish`].
fn resctrl(info: &[&str]) -> (tempfile::TempDir, Resctrl) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for name in info {
        fs::create_dir_all(root.join("info").join(name)).unwrap();
    }
    fs::create_dir_all(root.join("info")).unwrap();
    fs::write(root.join("info/last_cmd_status"), "mask f_f has non-consecutive 1-bits\n").unwrap();
    furnish(root);
    fs::write(root.join("schemata"), "    L3:0=fffff\n    MB:0=100\n").unwrap();
    let found = Resctrl::at(root);
    (dir, found)
}

fn furnish(group: &Path) {
    fs::create_dir_all(group.join("mon_groups")).unwrap();
    fs::write(group.join("schemata"), "").unwrap();
    fs::write(group.join("tasks"), "").unwrap();
}

fn plan(group: &str, shared: bool) -> IntelRdtPlan {
    IntelRdtPlan {
        group: group.into(),
        shared,
        l3_cache: None,
        memory_bandwidth: None,
        schemata: Vec::new(),
        monitor: None,
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_group_of_the_containers_own_lives_as_long_as_it() {
    let (dir, resctrl) = resctrl(&["L3", "MB"]);
    let plan = plan("box", false);
    let group = resctrl.group(&plan).unwrap();
    assert!(!dir.path().join("box").exists(), "only looked at");
    resctrl.create(&group, &plan).unwrap();
    assert!(dir.path().join("box").is_dir());
    resctrl.remove(&group).unwrap();
    assert!(!dir.path().join("box").exists());
    resctrl.remove(&group).unwrap();
}

#[test]
fn shares_and_processes_are_written_into_a_class() {
    let (dir, resctrl) = resctrl(&["L3", "MB"]);
    let gold = dir.path().join("gold");
    furnish(&gold);
    furnish(&gold.join("mon_groups/box"));
    let plan = IntelRdtPlan {
        l3_cache: Some("L3:0=f".into()),
        memory_bandwidth: Some("MB:0=20".into()),
        monitor: Some("box".into()),
        ..plan("gold", true)
    };
    let group = resctrl.group(&plan).unwrap();
    resctrl.create(&group, &plan).unwrap();
    resctrl.enter(&group, 42).unwrap();
    assert_eq!(text(&gold.join("schemata")), "L3:0=f\nMB:0=20\n");
    assert_eq!(text(&gold.join("tasks")), "42");
    assert_eq!(text(&gold.join("mon_groups/box/tasks")), "42");
    resctrl.update(&group, None, Some("MB:0=70")).unwrap();
    assert_eq!(text(&gold.join("schemata")), "MB:0=70\n");
    // The class stays, the counters go; these are files here, so they cannot.
    assert!(resctrl.remove(&group).unwrap_err().to_string().contains("mon_groups/box"));
    assert!(gold.is_dir());
}

#[test]
fn what_was_there_before_is_not_removed() {
    let (dir, resctrl) = resctrl(&[]);
    furnish(&dir.path().join("box"));
    let plan = plan("box", false);
    let group = resctrl.group(&plan).unwrap();
    resctrl.create(&group, &plan).unwrap();
    resctrl.remove(&group).unwrap();
    assert!(dir.path().join("box").is_dir());
    let root = super::tests::plan("/", true);
    let group = resctrl.group(&root).unwrap();
    resctrl.create(&group, &root).unwrap();
    resctrl.enter(&group, 7).unwrap();
    assert_eq!(text(&dir.path().join("tasks")), "7");
}

#[test]
fn what_the_machine_does_not_have_is_refused_before_anything_is_made() {
    let (dir, resctrl) = resctrl(&[]);
    let refused = |plan: &IntelRdtPlan| resctrl.group(plan).unwrap_err().to_string();
    let cache = IntelRdtPlan { l3_cache: Some("L3:0=f".into()), ..plan("box", false) };
    assert!(refused(&cache).contains("l3CacheSchema is specified in config, but Intel RDT/CAT is"));
    let bandwidth = IntelRdtPlan { memory_bandwidth: Some("MB:0=1".into()), ..plan("box", false) };
    assert!(refused(&bandwidth).contains("memBwSchema is specified in config, but Intel RDT/MBA"));
    assert!(refused(&plan("absent", true)).starts_with("clos dir not accessible (must be"));
    assert!(!dir.path().join("box").exists());
}

#[test]
fn a_refused_share_leaves_no_group_and_says_what_resctrl_says() {
    let (dir, resctrl) = resctrl(&["L3"]);
    let plan = IntelRdtPlan { l3_cache: Some("L3:0=f_f".into()), ..plan("box", false) };
    let group = resctrl.group(&plan).unwrap();
    // mkdir makes no schemata in a directory like this one.
    let error = resctrl.create(&group, &plan).unwrap_err().to_string();
    assert!(error.contains("box/schemata (last_cmd_status: mask f_f has non-consec"), "{error}");
    assert!(!dir.path().join("box").exists());
}

#[test]
fn readings_are_what_runc_prints() {
    let (dir, resctrl) = resctrl(&["L3", "MB", "L3_MON"]);
    let write = |path: &str, content: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    for (name, value) in
        [("L3/cbm_mask", "fffff"), ("L3/min_cbm_bits", "1"), ("L3/num_closids", "16")]
    {
        write(&format!("info/{name}"), &format!("{value}\n"));
    }
    for (name, value) in
        [("bandwidth_gran", 10), ("delay_linear", 1), ("min_bandwidth", 10), ("num_closids", 8)]
    {
        write(&format!("info/MB/{name}"), &format!("{value}\n"));
    }
    write("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n");
    furnish(&dir.path().join("box"));
    write("box/schemata", "    MB:0= 20\n    L3:0=0000f\n");
    for (name, value) in
        [("llc_occupancy", "4096"), ("mbm_total_bytes", "9"), ("mbm_local_bytes", "Unavailable")]
    {
        write(&format!("box/mon_data/mon_L3_00/{name}"), &format!("{value}\n"));
    }
    let group = resctrl.group(&plan("box", false)).unwrap();
    let got = serde_json::to_value(stats(&resctrl, &group).unwrap()).unwrap();
    let wanted = serde_json::json!({
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fffff", "l3_cache_schema": "L3:0=0000f",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100", "mem_bw_schema": "MB:0= 20",
        "schemata": ["MB:0= 20", "L3:0=0000f"],
        "mbm_stats": [{"mbm_total_bytes": 9, "mbm_local_bytes": 0}],
        "cmt_stats": [{"llc_occupancy": 4096}],
    });
    assert_eq!(got, wanted);
}

#[test]
fn a_resctrl_that_is_mounted_elsewhere_is_found() {
    let text = "36 35 0:31 / /proc rw - proc proc rw\n40 35 0:40 / /mnt/rdt rw shared:3 - resctrl resctrl rw\n";
    assert_eq!(mounted(text).as_deref(), Some("/mnt/rdt"));
    assert_eq!(mounted("36 35 0:31 / /resctrl rw - proc resctrl rw\nbroken\n"), None);
}
