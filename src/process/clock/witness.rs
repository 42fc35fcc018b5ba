//! Witnesses on this machine: what synchronises its clock says so, if it is asked.
//!
//! The kernel's own word (adjtimex) is not among them: the unit's `ProtectClock` denies it, and no library here asks for it without
//! unsafe code. Nothing here waits: `/run` is in memory, and answers are looked for a second after the question.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::UNIX_EPOCH;

use super::judge::{By, Word};
use super::{chrony, ntp};

/// systemd-timesyncd touches it at each synchronisation.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";
/// Seconds between two questions.
const ASK_EVERY: u32 = 16;

#[derive(Debug, Default)]
pub(super) struct Witnesses {
    turn: u32,
    timesyncd: Heard,
    chrony: Server,
    ntp: Server,
}

impl Witnesses {
    /// What they say; to be called every second.
    pub(super) fn words(&mut self) -> Vec<Word> {
        let (turn, ask) = (self.turn, self.turn.is_multiple_of(ASK_EVERY));
        self.turn = self.turn.wrapping_add(1);
        let mut words = Vec::new();
        let touched = synchronized();
        let first = turn == 0;
        words.extend(touched.and_then(|at| self.timesyncd.word(By::Timesyncd, at, first)));
        let first = turn <= ASK_EVERY;
        let answer = self.chrony.answer(chrony::synced);
        words.extend(answer.and_then(|at| self.chrony.heard.word(By::Chrony, at, first)));
        let answer = self.ntp.answer(ntp::synced);
        words.extend(answer.and_then(|at| self.ntp.heard.word(By::Ntp, at, first)));
        if ask {
            self.chrony.ask(chrony::PORT, &chrony::request());
            self.ntp.ask(ntp::PORT, &ntp::request());
        }
        words
    }
}

/// What one of them said last.
#[derive(Debug, Default)]
struct Heard {
    wall_us: Option<i64>,
}

impl Heard {
    /// A word, if it is a new one; `first` if this is the first time that it could be heard.
    fn word(&mut self, by: By, wall_us: i64, first: bool) -> Option<Word> {
        let before = self.wall_us.replace(wall_us);
        let fresh = !first || before.is_some();
        (before != Some(wall_us)).then_some(Word::Synced { by, wall_us, fresh })
    }
}

fn synchronized() -> Option<i64> {
    let touched = std::fs::metadata(TIMESYNCD).ok()?.modified().ok()?;
    let since = touched.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}

/// One that answers on this machine, by UDP.
#[derive(Debug, Default)]
struct Server {
    socket: Option<UdpSocket>,
    heard: Heard,
}

impl Server {
    fn ask(&mut self, port: u16, request: &[u8]) {
        let asked = self.try_ask(port, request);
        // Nobody is there, or the network may not be used: as if there were no such witness.
        if let Err(error) = asked {
            tracing::trace!(port, %error, "no witness of the time answers there");
            self.socket = None;
        }
    }

    fn try_ask(&mut self, port: u16, request: &[u8]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
        };
        socket.set_nonblocking(true)?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.send(request)?;
        self.socket = Some(socket);
        Ok(())
    }

    /// What the last answer that has come says.
    fn answer(&self, mut read: impl FnMut(&[u8]) -> Option<i64>) -> Option<i64> {
        let socket = self.socket.as_ref()?;
        let mut bytes = [0; 512];
        let mut said = None;
        // No more than a few are there: one is asked for.
        for _ in 0..4 {
            let Ok(length) = socket.recv(&mut bytes) else {
                break;
            };
            said = bytes.get(..length).and_then(&mut read).or(said);
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_of_an_earlier_time_and_each_new_one_is_fresh() {
        let mut heard = Heard::default();
        let said = |wall_us, fresh| {
            let by = By::Chrony;
            Some(Word::Synced { by, wall_us, fresh })
        };
        assert_eq!(heard.word(By::Chrony, 5, true), said(5, false));
        assert_eq!(heard.word(By::Chrony, 5, true), None);
        assert_eq!(heard.word(By::Chrony, 9, false), said(9, true));
        assert_eq!(Heard::default().word(By::Chrony, 5, false), said(5, true));
    }

    #[test]
    fn a_server_is_asked_without_waiting_and_one_that_is_not_there_is_no_error() {
        let there = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = there.local_addr().unwrap().port();
        let mut server = Server::default();
        server.ask(port, b"?");
        let (length, asker) = there.recv_from(&mut [0; 8]).unwrap();
        assert_eq!((length, server.answer(|_| Some(1))), (1, None));
        there.send_to(&[7], asker).unwrap();
        assert_eq!(
            server.answer(|said| said.first().copied().map(i64::from)),
            Some(7)
        );
        drop(there);
        for _ in 0..3 {
            server.ask(port, b"?");
            assert_eq!(server.answer(|_| Some(1)), None);
        }
    }
}
