use super::*;

const WHOLE: &str = r#"
[process]
at_once = 32

[check.web]
type = "http"
interval = "500ms"
timeout = "200ms"
rise = 1
fall = 2
path = "/health"
host = "www.example.org"
status = ["200", "300-399"]
regex = "^ok"

[check.alive]
type = "ping"

[[service]]
service = "tcp 192.0.2.1:80"
check = "web"
quorum = 2
sorry = "10.0.0.9:80"
on_failure = "remove"
slow_start = "30s"
load = "shadow"

[[service]]
service = "mark 7 ipv6"
check = "alive"
"#;

#[test]
fn a_whole_configuration_is_read() {
    let config = Config::parse(WHOLE).expect("it is right");
    assert_eq!(config.process.at_once, 32);
    let key = parse_service("tcp 192.0.2.1:80").expect("a service");
    let web = config.service(&key).expect("it has rules");
    assert_eq!(web.rules.quorum, 2);
    assert_eq!(web.rules.panic, 100, "the sorry server is there for that");
    assert_eq!(
        (web.on_failure, web.load),
        (OnFailure::Remove, Load::Shadow)
    );
    let check = web.check.as_ref().expect("it is checked");
    let Kind::Http(page) = &check.kind else {
        panic!("{check:?}")
    };
    assert_eq!(page.status, [200..=200, 300..=399]);
    assert_eq!(config.checks().len(), 2);
    for service in &config.services {
        assert_eq!(
            parse_service(&display_service(&service.key)),
            Ok(service.key)
        );
    }
}

#[test]
fn nothing_is_a_configuration_too() {
    assert!(Config::parse("").expect("it is right").services.is_empty());
}

/// Each wrong text, and the parts of what is said about it: where it is, and what to do.
#[test]
fn what_is_wrong_is_said_with_place_and_cure() {
    let check = |line: &str| format!("[check.web]\ntype = \"http\"\n{line}\n");
    let service = |line: &str| format!("[[service]]\nservice = \"tcp 192.0.2.1:80\"\n{line}\n");
    for (text, parts) in [
        (
            check("intervall = \"2s\""),
            &["line 3", "intervall", "interval", "timeout"][..],
        ),
        (check("interval = 2"), &["line 3", "interval = 2"]),
        (check("interval = \"2\""), &["line 3", "250ms"]),
        (check("fall = 0"), &["line 3"]),
        (check("status = [\"2xx\"]"), &["[check.web]", "200-299"]),
        (check("regex = \"(\""), &["[check.web]", "regex"]),
        (check("digest = \"1234\""), &["[check.web]", "SHA-256"]),
        (
            check("digest = \"12\"\nregex = \"x\""),
            &["[check.web]", "not both"],
        ),
        (
            check("path = \"health\""),
            &["[check.web]", "begins with /"],
        ),
        (
            check("script = \"/bin/true\""),
            &["[check.web]", "`script` is for checks of type script"],
        ),
        (check("timeout = \"1ms\""), &["[check.web]", "10ms"]),
        (
            "[check.x]\ntype = \"htttp\"\n".into(),
            &["line 2", "htttp", "tcp", "https"],
        ),
        (
            "[check.x]\ntype = \"script\"\nscript = \"a\"\n".into(),
            &["[check.x]", "whole path"],
        ),
        (
            "[check.x]\ntype = \"script\"\n".into(),
            &["[check.x]", "`script` is missing"],
        ),
        (
            "[check.x]\ntype = \"udp\"\nsend = \"abc\"\n".into(),
            &["[check.x]", "hexadecimal"],
        ),
        (
            "[checks.web]\n".into(),
            &["line 1", "checks", "check", "service"],
        ),
        (
            service("check = \"web\""),
            &["tcp 192.0.2.1:80", "[check.web]"],
        ),
        (
            service("sorry = \"10.0.0.9\""),
            &["tcp 192.0.2.1:80", "address and port"],
        ),
        (service("panic = 101"), &["from 0 to 100"]),
        (service("load = \"maybe\""), &["line 3", "maybe", "shadow"]),
        (service("") + &service(""), &["twice"]),
        (
            "[[service]]\nservice = \"192.0.2.1:80\"\n".into(),
            &["is no service", "tcp 192.0.2.1:80"],
        ),
        (
            "[[service]]\ncheck = \"web\"\n".into(),
            &["line 1", "service"],
        ),
        ("[process]\nat_once = 0\n".into(), &["at_once", "from 1"]),
        (
            "[process]\nscript_user = \"lvsx-check\"\n".into(),
            &["a user of their own"],
        ),
        ("service = 1\n[[".into(), &["line"]),
    ] {
        let said = Config::parse(&text).expect_err(&text);
        for part in parts {
            assert!(said.contains(part), "{text}\n{said}\nlacks `{part}`");
        }
    }
}

#[test]
fn a_file_is_named() {
    let wrong = Config::read(Path::new("/nowhere/lvsx.toml")).expect_err("it is not there");
    assert!(wrong.to_string().contains("/nowhere/lvsx.toml"), "{wrong}");
}
