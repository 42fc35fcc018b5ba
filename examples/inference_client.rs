//! Sends results to Tidegate and waits for each acknowledgement. `cargo run --example inference_client -- SOCKET`

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "/run/tidegate/vision.sock".into());
    let mut gateway = UnixStream::connect(path)?;
    let mut answers = BufReader::new(gateway.try_clone()?);
    for number in 0_u64.. {
        // The id makes it the same event when it is offered again after a crash.
        let event = format!(
            r#"{{"device":"cam-1","kind":"score","id":{number},"ack":{number},"payload":{{"score":0.97}}}}"#
        );
        writeln!(gateway, "{event}")?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        if !answer.starts_with(r#"{"ack""#) {
            return Err(std::io::Error::other(format!("not kept: {answer}")));
        }
        std::thread::park_timeout(Duration::from_secs(1));
    }
    Ok(())
}
