//! From keys to slots, and from a server's words to the table of them.

use redis::cluster_routing::{Route, SlotAddr};
use redis::{Cmd, Value, cmd};

use crate::store::slots::{View, key_of, slot_of};

#[test]
fn a_slot_is_the_one_redis_computes() {
    assert_eq!(slot_of(b"123456789"), 12739, "the specification's own example");
    let keys = ["", "a", "{}", "{}x", "a{b}c{d}", "a{{b}}", "{a", "a}", "portcullis:session:{j-1}", "a{}{b}", "\u{fc}"];
    for key in keys {
        let theirs = Route::with_key(key, SlotAddr::Master);
        assert_eq!(Route::new(slot_of(key.as_bytes()), SlotAddr::Master), theirs, "{key}");
    }
}

#[test]
fn a_command_goes_by_its_first_key() {
    let key = |command: &Cmd| key_of(command).map(|key| String::from_utf8(key.to_vec()).unwrap());
    assert_eq!(key(cmd("GET").arg("k")).as_deref(), Some("k"));
    assert_eq!(key(cmd("del").arg("k").arg("l")).as_deref(), Some("k"));
    assert_eq!(key(cmd("EVALSHA").arg("hash").arg(2).arg("k").arg("l").arg("x")).as_deref(), Some("k"));
    for command in [cmd("EVALSHA").arg("hash").arg(0).arg("x"), cmd("TIME").arg("x"), cmd("publish").arg("c")] {
        assert_eq!(key(command), None);
    }
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn server(host: Value, port: i64) -> Value {
    Value::Array(vec![host, Value::Int(port), bulk("id")])
}

fn range(first: i64, last: i64, servers: Vec<Value>) -> Value {
    Value::Array([vec![Value::Int(first), Value::Int(last)], servers].concat())
}

#[test]
fn a_view_takes_the_answerers_host_where_none_is_told_and_leaves_out_who_cannot_be_reached() {
    let info = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:7\r\n";
    let slots = Value::Array(vec![
        range(0, 5, vec![server(bulk(""), 1), server(Value::Nil, 2), server(bulk("?"), 3)]),
        range(6, 9, vec![server(bulk("?"), 3), server(bulk("10.0.0.1"), 4)]),
        range(10, 16383, vec![server(bulk("::1"), 5)]),
        range(9, 8, vec![server(bulk("a"), 6)]),
        range(9, 70000, vec![server(bulk("a"), 7)]),
        Value::Int(3),
    ]);
    let view = View::parse(bulk(info), slots, "h").unwrap();
    assert!(view.serves && view.epoch == 7 && !view.is_complete());
    let ranges: Vec<_> = view.ranges.iter().map(|range| (range.slots.clone(), range.servers.join(" "))).collect();
    assert_eq!(ranges, [(0..=5, "h:1 h:2".to_owned()), (10..=16383, "::1:5".to_owned())]);
    assert!(View::parse(bulk("cluster_state:ok"), Value::Array(Vec::new()), "h").is_none());
    assert!(View::parse(bulk(info), Value::Nil, "h").is_none());
    let whole = Value::Array(vec![range(0, 16383, vec![server(bulk("h"), 1)])]);
    assert!(View::parse(bulk(info), whole, "h").unwrap().is_complete());
}
