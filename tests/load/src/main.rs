//! `load publish` and `load consume`, for the bars.

use std::time::Duration;

use clap::Parser;
use load::consume::{Reader, account, rates};
use load::delay::delay;
use load::play::{Play, Played, play};
use load::publish::{Publish, publish};

#[derive(Debug, Parser)]
enum Command {
    /// Publish numbered events over MQTT and wait until all are acknowledged.
    Publish {
        #[arg(long)]
        port: u16,
        #[arg(long, default_value = "plant/{d}/state/temp")]
        topic: String,
        #[arg(long, default_value_t = 50)]
        devices: u64,
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[arg(long)]
        count: u64,
        #[arg(long, default_value_t = 0)]
        rate: u32,
        #[arg(long, default_value_t = 200)]
        size: usize,
        #[arg(long, default_value_t = 1)]
        qos: u8,
        /// Payloads that do not compress.
        #[arg(long)]
        noise: bool,
    },
    /// Be a broker that plays numbered events to one subscriber as fast as its window allows: from a line `go` on standard input to
    /// a line `rest`, again and again; after a line `end`, once all that was sent is acknowledged, print how many were sent and
    /// acknowledged as JSON.
    Play(PlayArguments),
    /// Pass TCP connections on with a delay each way.
    Delay {
        #[arg(long)]
        listen: u16,
        #[arg(long)]
        to: u16,
        /// Milliseconds.
        #[arg(long)]
        late: u64,
    },
    /// Send noise with a plain librdkafka producer, and print how many events a second were delivered.
    Produce {
        #[arg(long)]
        brokers: String,
        #[arg(long, default_value = "plain")]
        topic: String,
        #[arg(long)]
        size: usize,
        /// To start, and again to measure.
        #[arg(long)]
        seconds: u64,
    },
    /// Say when which broker leads a partition of a topic, at each change, until killed.
    Leaders {
        #[arg(long)]
        brokers: String,
        #[arg(long)]
        topic: String,
    },
    /// Modbus slaves on a pseudo-terminal of the given speed, told what to do on standard input.
    Slaves {
        #[arg(long)]
        baud: u32,
        #[arg(long, default_value_t = 8)]
        count: u8,
        /// A name for it, which is given to another one after `unplug` and `plug`.
        #[arg(long)]
        link: std::path::PathBuf,
    },
    /// Read slaves with a plain loop over tokio-modbus, and print the values a second.
    #[cfg(feature = "peers")]
    Master {
        #[arg(long)]
        port: String,
        #[arg(long)]
        baud: u32,
        #[arg(long)]
        slaves: u8,
        #[arg(long)]
        registers: u16,
        #[arg(long)]
        seconds: u64,
    },
    /// Print time stamp (ms), key and quality of all records of a topic.
    Events {
        #[arg(long)]
        brokers: String,
        #[arg(long)]
        topic: String,
    },
    /// Read topics until `count` distinct numbers have arrived, and print the account as JSON.
    Consume(Consume),
}

#[derive(Debug, clap::Args)]
struct PlayArguments {
    #[arg(long)]
    port: u16,
    #[arg(long, default_value = "plant/{d}/state/temp")]
    topic: String,
    #[arg(long, default_value_t = 50)]
    devices: u64,
    #[arg(long, default_value_t = 0)]
    from: u64,
    #[arg(long, default_value_t = 200)]
    size: usize,
    #[arg(long, default_value_t = 20_000)]
    window: u16,
    /// Seconds that the last acknowledgements may take.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

#[derive(Debug, clap::Args)]
struct Consume {
    #[arg(long)]
    brokers: String,
    #[arg(long, value_delimiter = ',')]
    topics: Vec<String>,
    #[arg(long, default_value_t = 0)]
    from: u64,
    #[arg(long)]
    count: u64,
    /// Seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// How late is told by the brokers' clock, of a topic with `message.timestamp.type=LogAppendTime`.
    #[arg(long)]
    appended: bool,
    /// A file that gets the events that arrived in each second.
    #[arg(long)]
    rates: Option<std::path::PathBuf>,
}

fn main() {
    match Command::parse() {
        Command::Publish {
            port,
            topic,
            devices,
            from,
            count,
            rate,
            size,
            qos,
            noise,
        } => {
            let job = Publish {
                port,
                topic,
                devices,
                numbers: from..from + count,
                rate,
                size,
                qos,
                noise,
            };
            runtime().block_on(publish(job));
        }
        Command::Play(arguments) => play_as_told(&arguments),
        Command::Delay { listen, to, late } => {
            runtime()
                .block_on(delay(listen, to, Duration::from_millis(late)))
                .expect("the port is free");
        }
        Command::Produce {
            brokers,
            topic,
            size,
            seconds,
        } => produce(&brokers, &topic, size, seconds),
        Command::Leaders { brokers, topic } => load::leaders::tell(&brokers, &topic),
        Command::Slaves { baud, count, link } => load::slaves::slaves(baud, count, &link),
        #[cfg(feature = "peers")]
        Command::Master {
            port,
            baud,
            slaves,
            registers,
            seconds,
        } => {
            let time = Duration::from_secs(seconds);
            let rate =
                runtime().block_on(load::master::read_all(&port, baud, slaves, registers, time));
            tell(&format!("{rate:.1}"));
        }
        Command::Events { brokers, topic } => events(&brokers, &topic),
        Command::Consume(what) => consume(&what),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
}

#[expect(clippy::print_stdout, reason = "a command's output")]
fn tell(text: &str) {
    println!("{text}");
}

fn play_as_told(arguments: &PlayArguments) {
    let job = Play {
        topic: arguments.topic.clone(),
        devices: arguments.devices,
        numbers: arguments.from..u64::MAX,
        size: arguments.size,
        window: arguments.window,
    };
    let listener = std::net::TcpListener::bind(("127.0.0.1", arguments.port));
    let (listener, played) = (listener.expect("the port is free"), Played::default());
    std::thread::scope(|scope| {
        let player = scope.spawn(|| play(&listener, &job, &played));
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match line.as_str() {
                "go" => played.go(),
                "rest" => played.rest(),
                _ => break,
            }
        }
        played.rest();
        let begun = std::time::Instant::now();
        let patience = Duration::from_secs(arguments.patience);
        let waits = || {
            let (sent, acknowledged) = played.so_far();
            acknowledged < sent && begun.elapsed() < patience
        };
        while waits() && !player.is_finished() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        played.end();
        let outcome = player.join().expect("the player does not panic");
        outcome.expect("the subscriber keeps to the protocol");
    });
    let (sent, acknowledged) = played.so_far();
    tell(&format!(
        "{{\"sent\":{sent},\"acknowledged\":{acknowledged}}}"
    ));
}

fn produce(brokers: &str, topic: &str, size: usize, seconds: u64) {
    let rate = load::produce::produce(brokers, topic, size, Duration::from_secs(seconds));
    tell(&format!("{rate:.1}"));
}

/// Until nothing comes for two seconds.
fn events(brokers: &str, topic: &str) {
    let mut reader = Reader::new(brokers, &[topic], &[]);
    while let Some(record) = reader.next(Duration::from_secs(2)) {
        let quality = record.header("tg-quality");
        tell(&format!("{} {} {quality}", record.timestamp, record.key));
    }
}

fn consume(what: &Consume) {
    let topics: Vec<&str> = what.topics.iter().map(String::as_str).collect();
    let expected = what.from..what.from + what.count;
    let mut reader = Reader::new(&what.brokers, &topics, &[]);
    let mut numbers = std::collections::HashSet::new();
    let mut seen = 0;
    let mut records = reader.until(Duration::from_secs(what.patience), |records| {
        for record in records.iter().skip(seen) {
            let number = load::Numbered::parse(&record.payload).map(|event| event.n);
            numbers.extend(number.ok().filter(|n| expected.contains(n)));
        }
        seen = records.len();
        numbers.len() as u64 >= what.count
    });
    for record in records.iter_mut().filter(|_| what.appended) {
        record.received = record.timestamp.unsigned_abs() * 1000;
    }
    if let Some(path) = &what.rates {
        std::fs::write(path, rates(&records)).expect("the file can be written");
    }
    let text = serde_json::to_string(&account(&records, expected)).expect("an account is JSON");
    tell(&text);
}
