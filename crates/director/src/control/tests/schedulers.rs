//! What schedulers pick, across changes and restarts.

use super::*;

#[test]
fn rr_goes_on_behind_a_removed_destination() {
    let mut control = serving("rr", &[1, 1, 1]);
    assert_eq!(picks(&control, 7, false), "CBACBAC");
    set_weight(&mut control, 2, 0);
    assert_eq!(picks(&control, 4, false), "ACAC");
    set_weight(&mut control, 2, 1);
    assert_eq!(picks(&control, 4, false), "BACB");
    control
        .delete_destination(&service(), &server(1))
        .expect("it is there");
    assert_eq!(picks(&control, 4, false), "CBCB");
    control
        .new_destination(&service(), &server(1), &weight(1))
        .expect("it is new again");
    assert_eq!(picks(&control, 6, false), "ACBACB");
    control
        .delete_destination(&service(), &server(2))
        .expect("it is there");
    assert_eq!(picks(&control, 3, false), "ACA");
}

#[test]
fn wrr_takes_changes_as_the_kernel_does() {
    let mut control = serving("wrr", &[4, 3, 2]);
    assert_eq!(picks(&control, 18, false), "CBAABACBACBAABACBA");
    set_weight(&mut control, 1, 1);
    assert_eq!(picks(&control, 8, false), "CBCBABCB");
    set_weight(&mut control, 2, 0);
    assert_eq!(picks(&control, 4, false), "CCAC");
    control
        .new_destination(&service(), &server(4), &weight(6))
        .expect("it is new");
    assert_eq!(picks(&control, 14, false), "DCDCADDDDDCDCA");
}

#[test]
fn a_restart_goes_on_where_the_schedulers_were() {
    for (scheduler, before, after) in [
        ("rr", "CBAC", "BACB"),
        ("wrr", "CBAA", "BACB"),
        ("wlc", "CBAC", "BCCB"),
    ] {
        let control = serving(
            scheduler,
            if scheduler == "wrr" {
                &[4, 3, 2]
            } else {
                &[1, 2, 3]
            },
        );
        assert_eq!(picks(&control, 4, true), before, "{scheduler}");
        let control = restarted(control);
        assert_eq!(picks(&control, 4, true), after, "{scheduler}");
    }
}

#[test]
fn a_service_without_a_scheduler_and_one_whose_scheduler_changes() {
    let mut control = serving("none", &[1, 1]);
    assert_eq!(picks(&control, 2, false), "--");
    assert_eq!(
        control.service(&service()).expect("it is there").scheduler,
        None
    );
    control
        .set_service(&service(), &settings("rr"))
        .expect("it is there");
    assert_eq!(picks(&control, 3, false), "BAB");
    control
        .set_service(&service(), &settings("wrr"))
        .expect("it is there");
    assert_eq!(picks(&control, 3, false), "BAB");
}
