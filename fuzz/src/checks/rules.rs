//! A file of command lines: all of it or nothing, and what the original loads line by line is loaded in one step.

use super::{director, run, saved_and_loaded_is_the_same};
use lvsx_ipvs::Client;
use lvsx_ipvsadm::{Rules, Table, Undone, Wish, apply};

/// What is in force before.
const BEFORE: &str = "\
-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 10.9.0.11:80 -m -w 1
-A -f 9 -6 -s sh -p 60
";

/// Any bytes as a file.
pub(crate) fn check(bytes: &[u8]) {
    let mut client = director();
    load(&mut client, BEFORE.as_bytes(), Wish::default()).expect("a table to begin with");
    let before = table(&mut client);

    let trial = Wish {
        is_trial: true,
        ..Wish::default()
    };
    let tried = load(&mut client, bytes, trial);
    assert_eq!(table(&mut client), before, "a trial changes nothing");
    let strict = Wish {
        is_strict: true,
        ..trial
    };
    let is_strictly_good = load(&mut client, bytes, strict).is_ok();
    assert!(tried.is_ok() || !is_strictly_good, "what is strict is more");

    let done = load(&mut client, bytes, Wish::default());
    match (&tried, &done) {
        (Ok(()), Ok(())) => saved_and_loaded_is_the_same(&mut client),
        (Err(foretold), Err(why)) => {
            assert_eq!(foretold.to_string(), why.to_string());
            assert_eq!(table(&mut client), before, "all or nothing");
            assert!(matches!(why, Undone::Wrong { .. }), "{why}");
            each_complaint_has_its_place(&why.to_string(), bytes);
        }
        _ => panic!("{tried:?}, but {done:?}"),
    }
    as_the_original(bytes);
}

fn load(client: &mut Client, bytes: &[u8], wish: Wish) -> Result<(), Undone> {
    let mut rules = Rules::read("file", bytes);
    apply(client, &mut rules, wish).map(drop)
}

fn table(client: &mut Client) -> Table {
    Table::read(client).expect("a table")
}

fn each_complaint_has_its_place(text: &str, bytes: &[u8]) {
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    let mut count = 0;
    for line in text.lines() {
        let Some(place) = line.strip_prefix("file:") else {
            continue;
        };
        let mut numbers = place
            .split(':')
            .map_while(|number| number.parse::<usize>().ok());
        let (line, column) = (numbers.next(), numbers.next());
        assert!(
            line.is_some_and(|line| line >= 1 && line <= lines),
            "{text}"
        );
        assert!(column.is_some_and(|column| column >= 1), "{text}");
        count += 1;
    }
    assert!(count > 0, "no line is named: {text}");
}

/// What goes through the original's way without a fault is taken in one step too, and makes the same table.
fn as_the_original(bytes: &[u8]) {
    let is_plain = bytes.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~'));
    // What begins with `#` the original's script takes out, and ours are among them.
    let lines: Vec<&[u8]> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"#"))
        .collect();
    let has_daemons = bytes.windows(7).any(|word| word == b"-daemon");
    if !is_plain || has_daemons {
        return;
    }
    let (mut one_by_one, mut whole) = (director(), director());
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let line = [line, b"\n".as_slice()].concat();
        let (code, _) = run(&["-R".to_owned()], &mut one_by_one, &line);
        if code != 0 {
            return;
        }
    }
    let bytes = lines.join(&b'\n');
    if let Err(why) = load(&mut whole, &bytes, Wish::default()) {
        panic!("{why}\n{}", String::from_utf8_lossy(&bytes));
    }
    assert_eq!(table(&mut whole), table(&mut one_by_one));
}
