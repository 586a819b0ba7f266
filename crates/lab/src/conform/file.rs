//! The files of IPVS under `/proc/net`, byte for byte but for what differs from run to run: the table's size, jiffies, times
//! left, rates, the order of services and connections, and the rows of single CPUs. What is left out keeps its width. Each line ends with
//! `$`, so that blanks at its end are seen.

/// Lines above the services in `ip_vs`.
const HEADING: usize = 3;
/// Below this line of `ip_vs_stats` stand rates.
const RATES: usize = 5;
/// The field with the seconds left, at the end of a connection's line.
const LEFT: usize = 7;

/// The lines of the file of this name.
#[must_use]
pub fn lines(name: &str, text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| masked(name, line)).collect();
    match name {
        "ip_vs" => sort_services(&mut lines),
        "ip_vs_conn" | "ip_vs_conn_sync" => {
            let entries = lines.get_mut(1..).unwrap_or_default();
            entries.sort();
            // Where a read of the file ends, the kernel may go on with a line that it has shown already.
            lines.dedup();
        }
        "ip_vs_stats" => lines
            .iter_mut()
            .skip(RATES)
            .for_each(|line| *line = without_figures(line)),
        "ip_vs_stats_percpu" => {
            let is_of_a_cpu = |line: &String| {
                line.get(..3)
                    .is_some_and(|number| u32::from_str_radix(number.trim(), 16).is_ok())
            };
            lines.retain(|line| !is_of_a_cpu(line));
            lines
                .iter_mut()
                .skip(RATES)
                .for_each(|line| *line = without_figures(line));
        }
        _ => {}
    }
    lines.iter_mut().for_each(|line| line.push('$'));
    if !text.ends_with('\n') {
        lines.push("no end of line".to_owned());
    }
    lines
}

/// Services, each with its destinations below it: the kernel's order is that of a hash which no two of its runs share.
fn sort_services(lines: &mut Vec<String>) {
    let entries = lines.split_off(lines.len().min(HEADING));
    let mut services: Vec<Vec<String>> = Vec::new();
    for line in entries {
        match services.last_mut() {
            Some(service) if line.starts_with("  -> ") => service.push(line),
            _ => services.push(vec![line]),
        }
    }
    services.sort();
    lines.extend(services.into_iter().flatten());
}

fn masked(name: &str, line: &str) -> String {
    match name {
        "ip_vs" => [("(size=", ")"), ("persistent ", " ")]
            .iter()
            .fold(line.to_owned(), |line, (before, behind)| {
                without(&line, before, behind)
            }),
        "ip_vs_conn" | "ip_vs_conn_sync" => {
            match line.len().checked_sub(LEFT).map(|at| line.split_at(at)) {
                Some((rest, left))
                    if left.trim_start().bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    format!("{rest}{:>LEFT$}", "n")
                }
                _ => line.to_owned(),
            }
        }
        _ => line.to_owned(),
    }
}

/// Without the figure between two texts.
fn without(line: &str, before: &str, behind: &str) -> String {
    let parts = line
        .split_once(before)
        .and_then(|(head, rest)| Some((head, rest.split_once(behind)?)));
    match parts {
        Some((head, (figure, rest))) if figure.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{head}{before}n{behind}{rest}")
        }
        _ => line.to_owned(),
    }
}

/// Hexadecimal figures with the blanks before them as blanks and an `n`; lines with other words stay.
fn without_figures(line: &str) -> String {
    if line
        .split_ascii_whitespace()
        .any(|word| u64::from_str_radix(word, 16).is_err())
    {
        return line.to_owned();
    }
    let mut masked = String::new();
    for (at, letter) in line.char_indices() {
        let ends = line[at + 1..].chars().next().is_none_or(|next| next == ' ');
        masked.push(if letter != ' ' && ends { 'n' } else { ' ' });
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_keeps_its_width() {
        assert_eq!(
            lines(
                "ip_vs",
                "IP Virtual Server version 1.2.1 (size=4096)\nTCP  0A000032:0050 rr persistent 90000 FFFFFFFF\n"
            ),
            [
                "IP Virtual Server version 1.2.1 (size=n)$",
                "TCP  0A000032:0050 rr persistent n FFFFFFFF$"
            ]
        );
        assert_eq!(
            lines(
                "ip_vs_conn",
                "Pro Expires\nUDP B UDP             299\nTCP A NONE           3599\n"
            ),
            [
                "Pro Expires$",
                "TCP A NONE              n$",
                "UDP B UDP               n$"
            ]
        );
        let stats = "a\nb\n       C       1B\n\n Conns/s   Pkts/s\n       1       FF\n";
        assert_eq!(
            lines("ip_vs_stats", stats)[2..],
            [
                "       C       1B$",
                "$",
                " Conns/s   Pkts/s$",
                "       n        n$"
            ]
        );
        assert_eq!(lines("ip_vs", "x"), ["x$", "no end of line"]);
    }
}
