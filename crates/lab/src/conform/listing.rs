//! What a command printed, without what differs from run to run: versions, the order of connections, rates; and times
//! left, which depend on how fast the machine is, are rounded up, so that they read as they began.

/// The lines of standard output of `ipvsadm` with these words.
#[must_use]
pub fn lines(words: &[String], text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .replace('\t', " ")
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    for line in &mut lines {
        for head in ["ipvsadm v", "IP Virtual Server version"] {
            if line.starts_with(head) {
                *line = head.trim_end_matches(" v").to_owned();
            }
        }
    }
    if lists_connections(words) {
        let is_entry = |line: &String| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|word| seconds(word).is_some())
        };
        let (entries, mut others): (Vec<_>, Vec<_>) = lines.into_iter().partition(is_entry);
        let mut entries: Vec<String> = entries.iter().map(|entry| rounded(entry)).collect();
        entries.sort();
        // Where a read of /proc/net/ip_vs_conn ends, the kernel may go on with a line that it has shown already.
        entries.dedup();
        others.extend(entries);
        return others;
    }
    if words.iter().any(|word| word == "--rate") {
        let masked = lines.iter().map(|line| {
            let words = line.split_whitespace().enumerate();
            let words = words.map(|(index, word)| {
                if index > 0 && is_figure(word) {
                    "n"
                } else {
                    word
                }
            });
            words.collect::<Vec<_>>().join(" ")
        });
        return masked.collect();
    }
    lines
}

/// Whether `ipvsadm` with these words lists connections.
#[must_use]
pub fn lists_connections(words: &[String]) -> bool {
    let is_it = |word: &String| word == "-c" || is_cluster(word, 'L') && word.contains('c');
    words
        .iter()
        .any(|word| word == "--connection" || is_it(word))
}

/// The lines of standard error; the program's name is cut to its last part.
#[must_use]
pub fn complaints(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| match line.split_once(':') {
        Some((name, rest)) if name.ends_with("ipvsadm") && !name.contains(' ') => {
            format!("ipvsadm:{rest}")
        }
        _ => line.to_owned(),
    });
    lines.map(|line| line.trim_end().to_owned()).collect()
}

fn is_cluster(word: &str, letter: char) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains(letter)
}

fn is_figure(word: &str) -> bool {
    let digits = word.trim_end_matches(['K', 'M', 'G']);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `15:00` in seconds.
fn seconds(word: &str) -> Option<u32> {
    let parts: Vec<u32> = word
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    (parts.len() > 1).then(|| parts.iter().fold(0, |sum, part| sum * 60 + part))
}

/// Times left are rounded up to this many seconds: the kernel's timeouts are multiples of it, but for 10 s.
const GRID: u32 = 30;
/// Below this they are only called short.
const SHORT: u32 = 15;

/// A connection's line with its time left rounded.
fn rounded(entry: &str) -> String {
    let words = entry.split_whitespace().enumerate();
    let words = words.map(|(index, word)| match seconds(word) {
        Some(left) if index == 1 && left < SHORT => format!("<{SHORT}s"),
        Some(left) if index == 1 => {
            let left = left.div_ceil(GRID) * GRID;
            format!("{:02}:{:02}", left / 60, left % 60)
        }
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn times_are_rounded_and_connections_sorted() {
        let text = "IPVS connection entries\npro expire state source virtual destination\n\
                    UDP 04:58 UDP 10.0.0.2:1 10.0.0.100:53 10.1.0.11:53\nTCP 00:07  CLOSE  10.0.0.1:1 10.0.0.100:80 10.1.0.11:80\n";
        let expected = [
            "IPVS connection entries",
            "pro expire state source virtual destination",
            "TCP <15s CLOSE 10.0.0.1:1 10.0.0.100:80 10.1.0.11:80",
            "UDP 05:00 UDP 10.0.0.2:1 10.0.0.100:53 10.1.0.11:53",
        ];
        for line in ["-Lnc", "-L -n -c", "-Ln --connection"] {
            assert_eq!(lines(&words(line), text), expected);
        }
    }

    #[test]
    fn rates_versions_and_names_go() {
        assert_eq!(
            lines(&words("-Ln --rate"), "TCP  10.0.0.100:80   1  20K  3"),
            ["TCP 10.0.0.100:80 n n n"]
        );
        assert_eq!(
            lines(
                &words("-Ln"),
                "IP Virtual Server version 1.2.1 (size=4096)\n"
            ),
            ["IP Virtual Server version"]
        );
        assert_eq!(
            complaints("/usr/sbin/ipvsadm: options\nNo such service: x\n"),
            ["ipvsadm: options", "No such service: x"]
        );
    }
}
