//! The hook of kernels before 6.6, which newer ones have as well: a clsact filter, replaced in place by the next director.

mod support;

use lvsx_director::loader::{Attachments, Hook, Pins, Plane, Seat, Wanted, detach_all};
use std::collections::BTreeMap;
use std::process::Command;
use support::{Space, in_namespace, ip};

fn load(space: &Space) -> Plane {
    let pins = Pins::of(&space.run_dir, lvsx_ipvs::cookie().expect("a cookie"));
    pins.prepare(&space.run_dir).expect("a bpffs");
    pins.make().expect("folders");
    Plane::load(pins, 1000, false).expect("the data plane loads")
}

/// The ids of the programs at ingress of `name`, by `tc`.
fn programs(name: &str) -> Vec<String> {
    let output = Command::new("tc")
        .args(["filter", "show", "dev", name, "ingress"])
        .output()
        .expect("tc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ids = text
        .lines()
        .filter(|line| line.contains("pref 49152") && line.contains("handle 0x1"));
    ids.filter_map(|line| {
        line.split_once(" id ")?
            .1
            .split_whitespace()
            .next()
            .map(str::to_owned)
    })
    .collect()
}

fn index_of(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).expect("the interface is there")
}

/// What is let go of can be attached to again in the same moment, as when all services are removed and added anew.
fn links_that_end_are_gone_at_once(plane: &mut Plane, wanted: &Wanted) {
    let mut attachments = Attachments::default();
    for round in 0..8 {
        let errors = attachments.become_these(plane, Hook::Tcx, wanted);
        assert!(errors.is_empty(), "round {round}: {errors:?}");
        attachments.become_these(plane, Hook::Tcx, &Wanted::new());
    }
}

#[test]
fn a_filter_is_replaced_in_place_and_outlives_its_director() {
    in_namespace(|space| {
        ip("link add one type veth peer name two");
        let wanted = BTreeMap::from([
            ((index_of("one"), Seat::First), "one".to_owned()),
            ((index_of("two"), Seat::First), "two".to_owned()),
        ]);
        let mut plane = load(space);
        let mut attachments = Attachments::default();
        let errors = attachments.become_these(&mut plane, Hook::Clsact, &wanted);
        assert!(errors.is_empty(), "{errors:?}");
        let first = programs("one");
        assert_eq!(first.len(), 1);
        drop((plane, attachments));
        assert_eq!(programs("one"), first, "it stays when the director is gone");

        let mut plane = load(space);
        let mut attachments = Attachments::default();
        let errors = attachments.become_these(&mut plane, Hook::Clsact, &wanted);
        assert!(errors.is_empty(), "{errors:?}");
        let second = programs("one");
        assert_eq!(second.len(), 1);
        assert_ne!(first, second, "the new director's program is in its place");

        let fewer = BTreeMap::from([((index_of("two"), Seat::First), "two".to_owned())]);
        attachments.become_these(&mut plane, Hook::Clsact, &fewer);
        assert!(programs("one").is_empty());
        assert_eq!(programs("two").len(), 1);
        detach_all().expect("interfaces are listed");
        assert!(programs("two").is_empty());

        if Hook::tc() == Hook::Tcx {
            links_that_end_are_gone_at_once(&mut plane, &wanted);
        }
    });
}
