//! `lvsx status [--json]`: what the director of this network namespace is doing.
//!
//! The director tells it as JSON. For a person the same is printed as lists and tables by its
//! shape alone, so what the director comes to tell tomorrow is shown too.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use lvsx_ipvs::client::Client;
use lvsx_ipvs::transport::Choice;
use serde_json::{Map, Value};

/// Exit codes: 0 shown, 1 no director answers, 2 bad usage.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let as_json = match arguments {
        [] => false,
        [option] if option == "--json" => true,
        [option] if option == "-h" || option == "--help" => {
            return print(
                "lvsx status [--json]: what the director of this network namespace is doing\n",
            );
        }
        _ => {
            complain("usage: lvsx status [--json]");
            return ExitCode::from(2);
        }
    };
    match status(as_json) {
        Ok(text) => print(&text),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn status(as_json: bool) -> Result<String, Box<dyn std::error::Error>> {
    let mut client = Client::connect(Choice::Auto)?;
    if client.is_kernel() {
        return Err(
            "no lvsd runs in this network namespace; the kernel's own IPVS serves it".into(),
        );
    }
    let text = client.status()?;
    if as_json {
        return Ok(format!("{}\n", text.trim_end()));
    }
    Ok(render(&serde_json::from_str(&text)?))
}

fn print(text: &str) -> ExitCode {
    // A reader that went away is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "lvsx status: {text}");
}

/// The value as text: what is single first, then each list, table or group under its name.
fn render(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) => write_fields(&mut text, fields, 0),
        other => drop(writeln!(text, "{}", cell(other))),
    }
    text
}

/// A list of at least so many counters is shown without those that are 0.
const MANY_COUNTERS: usize = 8;

fn write_fields(text: &mut String, fields: &Map<String, Value>, depth: usize) {
    let indent = "  ".repeat(depth);
    if fields.len() >= MANY_COUNTERS && fields.values().all(Value::is_u64) {
        let counted: Map<_, _> = fields
            .clone()
            .into_iter()
            .filter(|(_, count)| *count != 0)
            .collect();
        let silent = fields.len() - counted.len();
        if silent > 0 {
            write_fields(text, &counted, depth);
            let _ = writeln!(text, "{indent}({silent} more are 0)");
            return;
        }
    }
    let (nested, single): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, value)| is_nested(value));
    let width = single
        .iter()
        .map(|(name, _)| words(name).chars().count())
        .max()
        .unwrap_or(0);
    for (name, value) in single {
        let _ = writeln!(text, "{indent}{:width$}  {}", words(name), cell(value));
    }
    for (name, value) in nested {
        let _ = writeln!(text, "{indent}{}", words(name));
        match value {
            Value::Object(inner) => write_fields(text, inner, depth + 1),
            Value::Array(rows) => write_table(text, rows, depth + 1),
            _ => {}
        }
    }
}

/// Whether it takes lines of its own: a group with something in it, or a list of groups.
fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(rows) => rows.iter().any(Value::is_object),
        _ => false,
    }
}

/// A row of a table, in which a group of single values is spread over columns.
fn row_of(value: &Value) -> Option<Map<String, Value>> {
    let mut row = Map::new();
    for (name, value) in value.as_object()? {
        match value {
            Value::Object(inner) if is_nested(value) && !inner.values().any(is_nested) => {
                row.extend(
                    inner
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone())),
                );
            }
            _ => drop(row.insert(name.clone(), value.clone())),
        }
    }
    Some(row)
}

/// Rows under one head. What a row nests itself follows below the table.
fn write_table(text: &mut String, rows: &[Value], depth: usize) {
    let indent = "  ".repeat(depth);
    let rows: Vec<Map<String, Value>> = rows.iter().filter_map(row_of).collect();
    let mut columns: Vec<&String> = Vec::new();
    for (name, value) in rows.iter().flat_map(|row| row.iter()) {
        if !is_nested(value) && !columns.contains(&name) {
            columns.push(name);
        }
    }
    let width = |column: &&String| {
        let cells = rows.iter().map(|row| {
            row.get(*column)
                .map_or(0, |value| cell(value).chars().count())
        });
        cells
            .chain([words(column).chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = columns.iter().map(width).collect();
    let mut line = |cells: Vec<String>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        let _ = writeln!(
            text,
            "{indent}{}",
            padded.collect::<Vec<_>>().join("  ").trim_end()
        );
    };
    line(columns.iter().map(|column| words(column)).collect());
    let mut below = Vec::new();
    for row in &rows {
        line(
            columns
                .iter()
                .map(|column| row.get(*column).map_or_else(String::new, cell))
                .collect(),
        );
        let title = columns
            .first()
            .and_then(|column| row.get(*column))
            .map_or_else(String::new, cell);
        below.extend(
            row.iter()
                .filter(|(_, value)| is_nested(value))
                .map(|(name, value)| (title.clone(), name, value)),
        );
    }
    for (title, name, value) in below {
        let _ = writeln!(text, "{indent}{} of {title}", words(name));
        match value {
            Value::Object(inner) => write_fields(text, inner, depth + 1),
            Value::Array(rows) => write_table(text, rows, depth + 1),
            _ => {}
        }
    }
}

/// A field's name for a reader.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        // Text of a peer or a file must not steer the terminal.
        Value::String(text) => text.chars().filter(|letter| !letter.is_control()).collect(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(_) => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_single_comes_first_then_tables() {
        let value = serde_json::json!({
            "version": "0.1.0",
            "drops": {"no_route": 0, "ttl_exceeded": 2},
            "interfaces": [
                {"name": "eth0", "mode": "tc", "index": 2},
                {"name": "eth1", "mode": "tc", "index": 10},
            ],
            "live": 12,
        });
        assert_eq!(
            render(&value),
            "\
version  0.1.0
live     12
drops
  no route      0
  ttl exceeded  2
interfaces
  name  mode  index
  eth0  tc    2
  eth1  tc    10
"
        );
    }

    #[test]
    fn of_many_counters_only_those_that_counted_are_shown() {
        let mut events: Map<String, Value> =
            (0..9).map(|n| (format!("drop-{n}"), 0.into())).collect();
        events.insert("drop-5".to_owned(), 7.into());
        let value = serde_json::json!({ "events": events });
        assert_eq!(render(&value), "events\n  drop-5  7\n  (8 more are 0)\n");
    }

    #[test]
    fn groups_in_a_row_become_columns_and_lists_follow() {
        let value = serde_json::json!({"services": [{
            "key": {"address": "8.8.8.8", "port": 80},
            "scheduler": "rr",
            "destinations": [{"address": "192.168.1.46", "stats": {"connections": 5}}],
        }]});
        assert_eq!(
            render(&value),
            "\
services
  address  port  scheduler
  8.8.8.8  80    rr
  destinations of 8.8.8.8
    address       connections
    192.168.1.46  5
"
        );
    }

    #[test]
    fn empty_lists_and_escapes_are_plain_text() {
        let value = serde_json::json!({"services": [], "note": "a\u{1b}[31mb", "none": null});
        assert_eq!(
            render(&value),
            "services  none\nnote      a[31mb\nnone      -\n"
        );
    }
}
