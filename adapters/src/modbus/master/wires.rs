//! The master on wires that give back what is sent, that have gaps, and that have to be told when to talk.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::tests::{MANNERS, TIMING, good, values};
use super::*;

#[tokio::test(start_paused = true)]
async fn an_echo_that_was_announced_is_skipped() {
    let (ours, mut theirs) = duplex(64);
    let mut master = Master::new(ours, Coding::Rtu, TIMING, true);
    let request = Request {
        function: 3,
        address: 7,
        count: 2,
    };
    let answers = tokio::spawn(async move {
        let mut asked = [0; 8];
        for _ in 0..2 {
            theirs.read_exact(&mut asked).await.unwrap();
            theirs.write_all(&asked).await.unwrap();
            theirs.write_all(&good(&asked)).await.unwrap();
        }
        theirs
    });
    for _ in 0..2 {
        let data = master.exchange(9, request, MANNERS).await.unwrap();
        assert_eq!(data, values(9, 7, 2));
    }
    answers.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_a_gap_is_broken_where_gaps_are_watched() {
    for (gap, is_taken) in [(None, true), (Some(20), true), (Some(5), false)] {
        let (ours, mut theirs) = duplex(64);
        let gap = gap.map(Duration::from_millis);
        let mut master = Master::new(ours, Coding::Rtu, Timing { gap, ..TIMING }, false);
        let slave = tokio::spawn(async move {
            let mut asked = [0; 8];
            theirs.read_exact(&mut asked).await.unwrap();
            let answer = good(&asked);
            sleep(Duration::from_millis(30)).await;
            theirs.write_all(&answer[..5]).await.unwrap();
            sleep(Duration::from_millis(10)).await;
            theirs.write_all(&answer[5..]).await.unwrap();
            theirs
        });
        let request = Request {
            function: 3,
            address: 7,
            count: 2,
        };
        let outcome = master.exchange(9, request, MANNERS).await;
        assert_eq!(outcome.is_ok(), is_taken, "{gap:?}: {outcome:?}");
        slave.await.unwrap();
    }
}

/// A wire that notes what is done to it, and when.
struct Noted {
    inner: DuplexStream,
    done: Arc<std::sync::Mutex<Vec<(Duration, &'static str)>>>,
    begun: Instant,
}

impl Noted {
    fn note(&self, what: &'static str) {
        let done = (self.begun.elapsed(), what);
        self.done.lock().unwrap().push(done);
    }
}

impl Wire for Noted {
    fn talk(&mut self, on: bool) -> std::io::Result<()> {
        self.note(if on { "talk" } else { "listen" });
        Ok(())
    }

    fn is_told(&self) -> bool {
        true
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.note("write");
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.note("flush");
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[tokio::test(start_paused = true)]
async fn rts_is_held_until_the_last_bit_has_left_and_no_longer() {
    let (ours, mut theirs) = duplex(64);
    let done = Arc::default();
    let wire = Noted {
        inner: ours,
        done: Arc::clone(&done),
        begun: Instant::now(),
    };
    let mut master = Master::new(wire, Coding::Rtu, TIMING, false);
    let slave = tokio::spawn(async move {
        let mut asked = [0; 8];
        theirs.read_exact(&mut asked).await.unwrap();
        sleep(Duration::from_millis(10)).await;
        theirs.write_all(&good(&asked)).await.unwrap();
        theirs
    });
    let request = Request {
        function: 3,
        address: 7,
        count: 2,
    };
    master.exchange(9, request, MANNERS).await.unwrap();
    slave.await.unwrap();
    let done = done.lock().unwrap();
    let what: Vec<&str> = done.iter().map(|(_, what)| *what).collect();
    assert_eq!(what, ["talk", "write", "flush", "listen"]);
    let held = done[3].0.saturating_sub(done[0].0);
    let frame = TIMING.character * 8;
    assert!(
        (frame..frame + Duration::from_millis(2)).contains(&held),
        "{held:?}"
    );
}
