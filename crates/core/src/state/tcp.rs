//! TCP as IPVS follows it: two tables, event by state, for three views of a connection.
//!
//! Source: observed on Linux 6.1. The secure table is that of the defence `secure_tcp`: there a client alone brings a
//! masqueraded connection no further than SYN_RECV. Rows are events, columns the states NO ES SS SR FW TW CL CW LA LI SA; a
//! row is packed into a word, four bits a state.

use super::State;
use crate::wire::TcpFlags;

/// Names of the states, by number.
pub const NAMES: [&str; 11] = [
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "SYNACK",
];

/// Seconds a connection stays in each state without packets, by number.
pub const TIMEOUTS: [u32; 11] = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];

/// Seconds a UDP connection lives without packets.
pub const UDP_TIMEOUT: u32 = 300;

/// Whose packet moves the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum View {
    /// The client's, with the server's seen too.
    Input = 0,
    /// The server's.
    Output = 1,
    /// The client's, while the server answers past the director.
    InputOnly = 2,
}

#[cfg(test)]
const NO: u8 = 0;
const ES: u8 = 1;
const SS: u8 = 2;
const SR: u8 = 3;
const FW: u8 = 4;
const TW: u8 = 5;
const CL: u8 = 6;
const CW: u8 = 7;
const LA: u8 = 8;
const LI: u8 = 9;
const SA: u8 = 10;

const fn row(states: [u8; 11]) -> u64 {
    let mut word = 0;
    let mut state = 0;
    while state < 11 {
        word |= (states[state] as u64) << (state * 4);
        state += 1;
    }
    word
}

const IN_SYN: u64 = row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR]);
const IN_FIN: u64 = row([CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW]);
const IN_ACK: u64 = row([ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES]);
const IN_RST: u64 = row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR]);
const OUT_SYN: u64 = row([SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR]);
const OUT_FIN: u64 = row([TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW]);
const OUT_ACK: u64 = row([ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES]);
const OUT_RST: u64 = row([CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL]);
const ONLY_SYN: u64 = IN_SYN;
const ONLY_FIN: u64 = row([CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW]);
const ONLY_ACK: u64 = IN_ACK;
const ONLY_RST: u64 = row([CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL]);

// Where the secure table differs.
const SECURE_IN_SYN: u64 = row([SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA]);
const SECURE_IN_FIN: u64 = row([CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA]);
const SECURE_IN_ACK: u64 = row([ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA]);
const SECURE_IN_RST: u64 = ONLY_RST;
const SECURE_OUT_SYN: u64 = row([SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA]);
const SECURE_ONLY_SYN: u64 = row([SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA]);

/// The first of RST, SYN, FIN and ACK that is set, by these four bits together; [`NOTHING`] if none is.
const EVENTS: u64 = {
    let mut word = 0;
    let mut set = 0;
    while set < 16 {
        let event = match set {
            _ if set & RST_BIT != 0 => 0,
            _ if set & SYN_BIT != 0 => 1,
            _ if set & FIN_BIT != 0 => 2,
            _ if set & ACK_BIT != 0 => 3,
            _ => NOTHING,
        };
        word |= event << (set * 4);
        set += 1;
    }
    word
};

const FIN_BIT: u64 = 1;
const SYN_BIT: u64 = 2;
const RST_BIT: u64 = 4;
/// ACK, moved from bit 4 of the flags beside the others.
const ACK_BIT: u64 = 8;

/// The event of a segment with none of the four flags: its connection goes to CLOSE.
const NOTHING: u64 = 4;

const CLOSING: u64 = row([CL; 11]);

/// The rows of both tables: by table, view and event, 32, 8 and 1 apart.
///
/// A static, so that BPF programs read a row from memory: were it a constant chosen by branches, the verifier would walk all
/// that follows once for each.
static ROWS: [u64; 64] = {
    let views = [
        [IN_RST, IN_SYN, IN_FIN, IN_ACK],
        [OUT_RST, OUT_SYN, OUT_FIN, OUT_ACK],
        [ONLY_RST, ONLY_SYN, ONLY_FIN, ONLY_ACK],
    ];
    let secure = [
        [SECURE_IN_RST, SECURE_IN_SYN, SECURE_IN_FIN, SECURE_IN_ACK],
        [OUT_RST, SECURE_OUT_SYN, OUT_FIN, OUT_ACK],
        [ONLY_RST, SECURE_ONLY_SYN, ONLY_FIN, ONLY_ACK],
    ];
    let mut rows = [CLOSING; 64];
    let mut view = 0;
    while view < 3 {
        let mut event = 0;
        while event < 4 {
            rows[view * 8 + event] = views[view][event];
            rows[32 + view * 8 + event] = secure[view][event];
            event += 1;
        }
        view += 1;
    }
    rows
};

/// The state after a packet with `flags`, seen from `view`, in `state`, by the normal table.
///
/// The first of RST, SYN, FIN, ACK that is set decides; with none of them the connection goes to CLOSE.
#[inline(always)]
#[must_use]
pub fn next(view: View, flags: TcpFlags, state: State) -> State {
    next_by(false, view, flags, state)
}

/// The same by the secure table where `secure` says that the defence is in force
/// ([`crate::generation::defence::Defences::secure_tcp`]). States reached before stay as they are.
#[inline(always)]
#[must_use]
pub fn next_by(secure: bool, view: View, flags: TcpFlags, state: State) -> State {
    let flags = u64::from(flags.0);
    let set = flags & 7 | flags >> 1 & ACK_BIT;
    let event = EVENTS >> (set * 4) & 7;
    let place = u64::from(secure) << 5 | (view as u64) << 3 | event;
    let row = ROWS[(place & 63) as usize];
    State((row >> (u32::from(state.0 & 0xf) * 4)) as u8 & 0xf)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: TcpFlags = TcpFlags(0x02);
    const FIN: TcpFlags = TcpFlags(0x11);
    const ACK: TcpFlags = TcpFlags(0x10);
    const RST: TcpFlags = TcpFlags(0x04);

    #[test]
    fn a_masqueraded_connection_opens_and_closes_as_observed() {
        let steps = [
            (View::Input, SYN, SR),
            (View::Output, TcpFlags(0x12), SR),
            (View::Input, ACK, ES),
            (View::Input, FIN, CW),
            (View::Output, FIN, TW),
        ];
        let mut state = State(NO);
        for (view, flags, want) in steps {
            state = next(view, flags, state);
            assert_eq!(state, State(want), "{view:?} {flags:?}");
        }
    }

    #[test]
    fn a_directly_routed_connection_is_guessed_from_the_client() {
        let mut state = next(View::InputOnly, SYN, State(NO));
        assert_eq!(state, State(SR));
        state = next(View::InputOnly, ACK, state);
        assert_eq!(state, State(ES));
        state = next(View::InputOnly, FIN, state);
        assert_eq!(state, State(FW));
        assert_eq!(next(View::InputOnly, SYN, state), State(SR));
    }

    #[test]
    fn reset_wins_over_all_and_no_flag_at_all_closes() {
        assert_eq!(next(View::Input, TcpFlags(0x06), State(ES)), State(CL));
        assert_eq!(next(View::Input, RST, State(SA)), State(SR));
        assert_eq!(next(View::Output, TcpFlags(0), State(ES)), State(CL));
    }

    /// Both tables as text, column by column read back from [`next_by`].
    #[test]
    fn the_tables_are_those_observed() {
        let names = [
            "NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA",
        ];
        let views = [
            ("in", View::Input),
            ("out", View::Output),
            ("in-only", View::InputOnly),
        ];
        let events = [("SYN", SYN), ("FIN", FIN), ("ACK", ACK), ("RST", RST)];
        for (secure, want) in [(false, NORMAL), (true, SECURE)] {
            let mut seen = std::string::String::new();
            for (direction, view) in views {
                for (event, flags) in events {
                    seen += &std::format!("{direction} {event}:");
                    for state in 0..11 {
                        let next = next_by(secure, view, flags, State(state));
                        seen += &std::format!(" {}", names[usize::from(next.0)]);
                    }
                    seen += "\n";
                }
            }
            assert_eq!(seen.trim(), want.trim(), "secure: {secure}");
        }
    }

    const NORMAL: &str = "
in SYN: SR ES ES SR SR SR SR SR SR SR SR
in FIN: CL CW SS TW TW TW CL CW LA LI TW
in ACK: ES ES SS ES FW TW CL CW CL LI ES
in RST: CL CL CL SR CL CL CL CL LA LI SR
out SYN: SS ES SS SR SS SS SS SS SS LI SR
out FIN: TW FW SS TW FW TW CL TW LA LI TW
out ACK: ES ES SS ES FW TW CL CW LA ES ES
out RST: CL CL SS CL CL TW CL CL CL CL CL
in-only SYN: SR ES ES SR SR SR SR SR SR SR SR
in-only FIN: CL FW SS TW FW TW CL CW LA LI TW
in-only ACK: ES ES SS ES FW TW CL CW CL LI ES
in-only RST: CL CL CL SR CL CL CL CL LA LI CL
";

    const SECURE: &str = "
in SYN: SR ES ES SR SR SR SR SR SR SR SA
in FIN: CL CW SS TW TW TW CL CW LA LI SA
in ACK: ES ES SS SR FW TW CL CW CL LI SA
in RST: CL CL CL SR CL CL CL CL LA LI CL
out SYN: SS ES SS SA SS SS SS SS SS LI SA
out FIN: TW FW SS TW FW TW CL TW LA LI TW
out ACK: ES ES SS ES FW TW CL CW LA ES ES
out RST: CL CL SS CL CL TW CL CL CL CL CL
in-only SYN: SA ES ES SR SA SA SA SA SA SA SA
in-only FIN: CL FW SS TW FW TW CL CW LA LI TW
in-only ACK: ES ES SS ES FW TW CL CW CL LI ES
in-only RST: CL CL CL SR CL CL CL CL LA LI CL
";

    #[test]
    fn every_flag_leads_where_the_first_that_decides_does() {
        for view in [View::Input, View::Output, View::InputOnly] {
            for flags in 0..64 {
                let decides = match flags {
                    _ if flags & 4 != 0 => RST,
                    _ if flags & 2 != 0 => SYN,
                    _ if flags & 1 != 0 => FIN,
                    _ => TcpFlags(flags & 0x10),
                };
                for (secure, state) in [false, true]
                    .into_iter()
                    .flat_map(|secure| (0..11).map(move |state| (secure, State(state))))
                {
                    let reached = next_by(secure, view, TcpFlags(flags), state);
                    assert_eq!(reached, next_by(secure, view, decides, state));
                    assert!(reached.0 < 11);
                }
            }
        }
    }

    #[test]
    fn under_defence_a_client_alone_does_not_get_beyond_syn_recv() {
        let syn = next_by(true, View::Input, SYN, State(NO));
        assert_eq!(next_by(true, View::Input, ACK, syn), State(SR));
        let answered = next_by(true, View::Output, TcpFlags(0x12), syn);
        assert_eq!(answered, State(SA));
    }

    #[test]
    fn syn_sent_syn_recv_synack_and_established_are_active() {
        let active: std::vec::Vec<u8> = (0..11).filter(|state| State(*state).is_active()).collect();
        assert_eq!(active, [ES, SS, SR, SA]);
    }
}
