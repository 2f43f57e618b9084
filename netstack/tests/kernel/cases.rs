//! The cases; each name is the sentence that it proves.

use crate::world::*;

type Case = (&'static str, fn());

pub const ALL: &[Case] =
    &[("a_published_port_is_reached_from_everywhere", a_published_port_is_reached_from_everywhere)];

fn a_published_port_is_reached_from_everywhere() {
    lan();
    let plan = NET.plan(5, &[tcp("0.0.0.0", 8080, 80)]);
    start("c5", &plan);
    start("c6", &NET.plan(6, &[]));
    serve_tcp("c5", "web", "0.0.0.0", 80);
    // The LAN client's address is preserved; loopback and true hairpin cannot be.
    assert_eq!(fetch("lan", HOST, 8080), format!("web {PEER}"));
    assert_eq!(fetch("host", HOST, 8080), format!("web {HOST}"));
    assert_eq!(fetch("host", "127.0.0.1", 8080), "web 10.88.0.1");
    assert_eq!(fetch("host", "127.1.2.3", 8080), "web 10.88.0.1");
    assert_eq!(fetch("host", "10.88.0.1", 8080), "web 10.88.0.1");
    assert_eq!(fetch("host", "10.88.0.5", 80), "web 10.88.0.1");
    assert_eq!(fetch("c6", "10.88.0.5", 80), "web 10.88.0.6");
    assert_eq!(fetch("c6", HOST, 8080), "web 10.88.0.1");
    assert_eq!(fetch("c6", "10.88.0.1", 8080), "web 10.88.0.1");
    assert_eq!(fetch("c5", HOST, 8080), "web 10.88.0.1");
    assert_eq!(fetch("c5", "10.88.0.1", 8080), "web 10.88.0.1");
}
