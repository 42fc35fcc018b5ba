//! Hosts, ports and names of topics that can never work are refused before a gateway runs with them.

use crate::configuration::{MQTT, UPLINK, check};
use crate::mistakes::{bus, with};

/// A file, and what `check` says of it.
fn mistakes() -> Vec<(String, &'static str)> {
    let broker = |text: &str| format!("[uplink]\nbrokers = [\"{text}\"]\n{MQTT}");
    let mqtt = |more: &str| {
        let more = format!("[[mqtt]]\n{more}\n");
        format!("{UPLINK}{}", MQTT.replace("[[mqtt]]\n", &more))
    };
    let tcp = |text: &str| bus("port = \"/dev/ttyS1\"", &format!("tcp = \"{text}\""));
    vec![
        (
            broker("kafka://h:9092"),
            "line 2: uplink.brokers[0]: `kafka://h:9092` has a scheme; use `h:9092`",
        ),
        (broker("h h:9092"), "`h h:9092` has a space in it"),
        (broker("::1:9092"), "without brackets; use `[::1]:9092`"),
        (broker("h:0"), "`0` is no port; use 1 to 65535"),
        (
            mqtt("host = \"mqtt://h\""),
            "line 4: mqtt[0].host: `mqtt://h` has a scheme; use `h`",
        ),
        (
            mqtt("host = \"h:1883\""),
            "mqtt[0].host: `h:1883` has a port; use `h`, and `port = 1883`",
        ),
        (mqtt("host = \"\""), "mqtt[0].host: `` is empty"),
        (mqtt("host = \"h \""), "mqtt[0].host: `h ` has a space"),
        (mqtt("port = 0"), "mqtt[0].port: `0` is no port"),
        (
            tcp("10.0.0.5"),
            "modbus[0].line.tcp: `10.0.0.5` is not \"host:port\"",
        ),
        (tcp("10.0.0.5:99999"), "`99999` is no port; use 1 to 65535"),
        (
            tcp("tcp://10.0.0.5:502"),
            "has a scheme; use `10.0.0.5:502`",
        ),
        (
            with("[[intent]]\nname = \"state\"\ntopic = \"plant/state\"\n"),
            "intent[0].topic: `plant/state` has a `/`, which no name of a topic may have",
        ),
        (
            UPLINK.to_owned() + "fallback_topic = \"un routed\"\n" + MQTT,
            "line 3: uplink.fallback_topic: `un routed` has a ` `",
        ),
        (
            format!("{UPLINK}[[mqtt]]\nhost = \"a\"\n[[mqtt]]\nhost = \"b\"\n"),
            "line 5: mqtt[1].name: missing",
        ),
    ]
}

#[test]
fn what_can_never_be_connected_to_is_refused_with_what_would_be_right() {
    for (text, expected) in mistakes() {
        let (code, said) = check(&text);
        assert_eq!(code, Some(1), "{text}\n{said}");
        assert!(said.contains(expected), "expected: {expected}\n{said}");
    }
    for text in [
        "[uplink]\nbrokers = [\"[::1]:9092\", \"kafka-1.plant7.example:9092\"]\n".to_owned() + MQTT,
        with("[[intent]]\nname = \"state\"\ntopic = \"{gateway}.state\"\n"),
        bus("port = \"/dev/ttyS1\"", "tcp = \"[::1]:502\""),
    ] {
        let (code, said) = check(&text);
        assert_eq!(code, Some(0), "{text}\n{said}");
        assert!(!said.contains("warning"), "{text}\n{said}");
    }
}
