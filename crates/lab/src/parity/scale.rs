//! A large table: how long each program takes on each director to restore, list and save it.

use super::director::Side;
use super::judge::Answers;
use super::line::{Group, Line};

/// Servers of each service.
const SERVERS: u32 = 50;

/// What is timed, and what it is called.
const LINES: [(&str, &str); 4] = [
    ("restore", "ipvsadm-restore"),
    ("list", "ipvsadm -Ln"),
    ("save", "ipvsadm-save -n"),
    ("replace", "ipvsadm-restore"),
];

/// The lines, for a table of so many services.
pub(super) fn groups(services: u32) -> Vec<Group> {
    let lines = LINES.map(|(name, text)| {
        let mut line = Line::read(text);
        match name {
            "restore" => line.input = table(services, 1),
            "replace" => line.input = table(services, 2),
            _ => {}
        }
        line
    });
    vec![Group::in_turn("scale", lines.to_vec())]
}

/// Services with servers of this weight.
fn table(services: u32, weight: u32) -> String {
    let mut text = String::new();
    for service in 0..services {
        let key = format!("10.0.{}.{}:80", service / 250, 1 + service % 250);
        text.push_str(&format!("-A -t {key} -s wlc\n"));
        for server in 0..SERVERS {
            let server = format!("10.9.{}.{}:80", 1 + service % 250, 1 + server);
            text.push_str(&format!("-a -t {key} -r {server} -m -w {weight}\n"));
        }
    }
    text
}

/// Seconds by side and line, and those of ours on lvsd as a part of Debian's on the kernel.
pub(super) fn told(sides: &[(Side, &Answers)]) -> String {
    let mut text = format!("{:14}", "seconds");
    LINES
        .iter()
        .for_each(|(name, _)| text.push_str(&format!("{name:>9}")));
    let seconds = |answers: &Answers| -> Vec<f64> {
        let all = answers.iter().flatten();
        all.map(|answer| answer.took.as_secs_f64()).collect()
    };
    let mut row = |name: &str, numbers: Vec<f64>| {
        text.push_str(&format!("\n  {name:12}"));
        numbers
            .iter()
            .for_each(|number| text.push_str(&format!("{number:9.3}")));
    };
    for (side, answers) in sides {
        row(&side.to_string(), seconds(answers));
    }
    let of = |wanted| {
        sides
            .iter()
            .find(|(side, _)| *side == wanted)
            .map(|(_, answers)| seconds(answers))
    };
    if let (Some(lvsd), Some(debian)) = (of(Side::Lvsd), of(Side::Debian)) {
        let parts = lvsd.iter().zip(debian).map(|(ours, its)| ours / its);
        row("lvsd/debian", parts.collect());
    }
    text + "\n"
}
