//! Messages of zigbee2mqtt, Tasmota, Shelly and AWS, as they send them.

use super::device::Device;
use super::{Sent, Site, recipe};
use crate::needs_kafka;
use crate::peers::Mosquitto;
use crate::rig::{free_port, project};

const LAMP: &str = "zigbee2mqtt/kitchen/lamp";

fn of_zigbee2mqtt() -> Vec<Sent> {
    let of = |topic: &str, payload: &str, key, kind| {
        Sent::new(&format!("zigbee2mqtt/{topic}"), payload, "state", key, kind)
    };
    let bridge = |topic: &str, payload: &str| {
        let topic = format!("zigbee2mqtt/bridge/{topic}");
        Sent::new(&topic, payload, "diagnostic", "bridge", "bridge")
    };
    let lamp = |state: &str| {
        let payload = format!(
            "{{\"brightness\":254,\"color_mode\":\"color_temp\",\"color_temp\":370,\"state\":\"{state}\"}}"
        );
        Sent::new(LAMP, payload, "state", "lamp", "state")
    };
    let sensor = |number: u32| {
        let payload = format!("{{\"battery\":100,\"linkquality\":{number},\"temperature\":21.4}}");
        of("0x00158d0001a2", &payload, "0x00158d0001a2", "state")
    };
    let online = r#"{"state":"online"}"#;
    let joined =
        r#"{"data":{"friendly_name":"0x90fd","ieee_address":"0x90fd"},"type":"device_joined"}"#;
    let log =
        r#"{"level":"info","message":"Zigbee: allowing new devices to join.","namespace":"z2m"}"#;
    let mut all = vec![
        bridge("state", online).retained(),
        of("door", r#"{"contact":true}"#, "door", "state"),
        of("door/availability", online, "door", "availability"),
        of("door/availability", "offline", "door", "availability"),
        of("kitchen/lamp/availability", online, "lamp", "availability"),
        lamp("ON"),
        lamp("OFF"),
        bridge("logging", log),
        bridge("event", joined),
    ];
    all.extend((0..50).map(sensor));
    all
}

#[test]
fn messages_of_zigbee2mqtt_arrive_as_the_recipe_says() {
    needs_kafka!();
    let all = of_zigbee2mqtt();
    let site = Site::open("zigbee2mqtt", &all[..1]);
    site.publish(&all);
    // A command is no state of the device.
    let set = format!("{LAMP}/set");
    site.device("user")
        .publish(&set, br#"{"state":"ON"}"#, 1, false);
    site.assert_arrived(&all);
}

#[test]
fn messages_of_tasmota_arrive_as_the_recipe_says() {
    const DEVICE: &str = "tasmota_A1B2C3";
    needs_kafka!();
    let of = |topic: &str, payload: &str, intent, kind| {
        Sent::new(&topic.replace('%', DEVICE), payload, intent, DEVICE, kind)
    };
    let all = [
        of("tele/%/LWT", "Online", "state", "LWT").retained(),
        of(
            "tele/%/STATE",
            r#"{"Time":"2026-11-28T10:00:00","Uptime":"0T00:10:12","UptimeSec":612,"Heap":25,"SleepMode":"Dynamic","Sleep":50,"LoadAvg":19,"MqttCount":1,"POWER":"ON","Wifi":{"AP":1,"SSId":"plant","RSSI":78,"Signal":-61}}"#,
            "state",
            "STATE",
        ),
        of(
            "tele/%/SENSOR",
            r#"{"Time":"2026-11-28T10:00:00","ENERGY":{"TotalStartTime":"2026-01-01T00:00:00","Total":12.345,"Today":0.5,"Period":3,"Power":36,"Voltage":230,"Current":0.157}}"#,
            "state",
            "SENSOR",
        ),
        of(
            "stat/%/RESULT",
            r#"{"POWER":"OFF"}"#,
            "diagnostic",
            "RESULT",
        ),
        of("stat/%/POWER", "OFF", "state", "POWER"),
        of("stat/%/RESULT", r#"{"POWER":"ON"}"#, "diagnostic", "RESULT"),
        of("stat/%/POWER", "ON", "state", "POWER"),
        of(
            "stat/%/RESULT",
            r#"{"Button1":{"Action":"SINGLE"}}"#,
            "diagnostic",
            "RESULT",
        ),
    ];
    let site = Site::open("Tasmota", &all[..1]);
    site.publish(&all);
    // A last will that is retained: to one that was there it is news.
    let offline = of("tele/%/LWT", "Offline", "state", "LWT");
    let will = (&*offline.topic, &*offline.payload, true);
    Device::connect(site.mqtt.port, DEVICE, Some(will)).lose();
    site.assert_arrived(&[&all[..], &[offline]].concat());
}

const OLD: &str = "shelly1pm-84CCA8A1B2C3";
const NEW: &str = "shellyplus1pm-a8032abe54dc";

fn of_shelly() -> Vec<Sent> {
    let old = |topic: &str, payload: &str, intent, kind| {
        Sent::new(
            &format!("shellies/{OLD}/{topic}"),
            payload,
            intent,
            OLD,
            kind,
        )
    };
    let new = |topic: &str, payload: &str, intent, kind| {
        Sent::new(&format!("{NEW}/{topic}"), payload, intent, NEW, kind)
    };
    let rpc = |method: &str, params: &str| {
        let payload = format!(
            "{{\"src\":\"{NEW}\",\"dst\":\"{NEW}/events\",\"method\":\"{method}\",\"params\":{params}}}"
        );
        new("events/rpc", &payload, "shelly-events", "events")
    };
    let mut all = vec![
        old("online", "true", "state", "online").retained(),
        new("online", "true", "state", "online").retained(),
        old("relay/0", "on", "state", "relay"),
        old("relay/0/power", "36.71", "state", "power"),
        old("sensor/temperature", "21.50", "state", "sensor"),
        old(
            "input_event/0",
            r#"{"event":"S","event_cnt":5}"#,
            "shelly-events",
            "input_event",
        ),
        new(
            "status/switch:0",
            r#"{"id":0,"source":"MQTT","output":true,"apower":8.9,"voltage":237.5,"aenergy":{"total":6.532,"by_minute":[45.199,47.141,88.397],"minute_ts":1626935779},"temperature":{"tC":23.5,"tF":74.4}}"#,
            "state",
            "status",
        ),
        rpc(
            "NotifyStatus",
            r#"{"ts":1631186545.04,"switch:0":{"id":0,"output":true,"source":"MQTT"}}"#,
        ),
    ];
    all.extend((0..50).map(|at| {
        let event = format!(
            "{{\"ts\":{at}.5,\"events\":[{{\"component\":\"input:0\",\"id\":0,\"event\":\"single_push\",\"ts\":{at}.5}}]}}"
        );
        rpc("NotifyEvent", &event)
    }));
    all
}

#[test]
fn messages_of_shelly_of_both_generations_arrive_as_the_recipe_says() {
    needs_kafka!();
    let mut all = of_shelly();
    let site = Site::open("Shelly", &all[..2]);
    site.publish(&all);
    let command = format!("shellies/{OLD}/relay/0/command");
    site.device("user").publish(&command, b"off", 1, false);
    let gone = Sent::new(&format!("{NEW}/online"), "false", "state", NEW, "online");
    let will = (&*gone.topic, &*gone.payload, true);
    Device::connect(site.mqtt.port, NEW, Some(will)).lose();
    all.push(gone);
    site.assert_arrived(&all);
}

fn of_shadows() -> Vec<Sent> {
    let mut all = Vec::new();
    for version in 1..=20 {
        for shadow in ["shadow", "shadow/name/config"] {
            let of = |what: &'static str, payload: String, intent| {
                let topic = format!("$aws/things/pump-3/{shadow}/update/{what}");
                Sent::new(&topic, payload, intent, "pump-3", what)
            };
            let token = format!("\"timestamp\":1796083200,\"clientToken\":\"token-{version}\"");
            let accepted = format!(
                "{{\"state\":{{\"desired\":{{\"speed\":{version}}}}},\"metadata\":{{\"desired\":{{\"speed\":{{\"timestamp\":1796083200}}}}}},\"version\":{version},{token}}}"
            );
            let delta = format!(
                "{{\"version\":{version},\"timestamp\":1796083200,\"state\":{{\"speed\":{version}}},\"metadata\":{{\"speed\":{{\"timestamp\":1796083200}}}},\"clientToken\":\"token-{version}\"}}"
            );
            let documents = format!(
                "{{\"previous\":{{\"state\":{{\"desired\":{{\"speed\":0}}}},\"version\":{}}},\"current\":{{\"state\":{{\"desired\":{{\"speed\":{version}}}}},\"version\":{version}}},{token}}}",
                version - 1
            );
            all.push(of("accepted", accepted, "shadows"));
            all.push(of("delta", delta, "shadows"));
            all.push(of("documents", documents, "state"));
        }
    }
    all
}

#[test]
fn shadows_of_aws_iot_arrive_as_the_recipe_says() {
    needs_kafka!();
    let block = recipe("AWS IoT Device Shadows");
    let filters = block.matches("[[mqtt.subscribe]]").count();
    assert!(filters <= 8, "AWS takes no more in a SUBSCRIBE");
    // As AWS has it: mutual TLS.
    let tls = project().join(".cache/kafka/tls").display().to_string();
    let port = free_port();
    let mqtt = Mosquitto::start(&format!(
        "per_listener_settings true\nlistener {port} 127.0.0.1\nallow_anonymous true\ncafile {tls}/ca.crt\ncertfile {tls}/server.crt\n\
         keyfile {tls}/server.key\nrequire_certificate true\nuser root\n"
    ));
    let block = block
        .replace(
            "/etc/tidegate/aws/AmazonRootCA1.pem",
            &format!("{tls}/ca.crt"),
        )
        .replace("/etc/tidegate/aws/gateway-7", &format!("{tls}/client"));
    let all = of_shadows();
    let site = Site::at(&block, mqtt, port, &[]);
    site.publish(&all);
    site.assert_arrived(&all);
}
