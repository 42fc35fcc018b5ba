//! The file as it is written. Every field has its documentation here, from which the JSON schema and
//! `configs/gateway.toml` are made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use adapters::inference::InferenceSection;
use adapters::modbus::ModbusSection;
use adapters::mqtt::MqttSection;
use adapters::{Size, SourceSettings, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fleet::FleetSection;
use super::intent::IntentSection;
use super::memory::MemorySection;
use super::merge::ENABLED;
use crate::ingest::RouteSection;
use crate::pace::{LinkSection, ReplaySection};
use crate::process::logging::LogSection;
use crate::state::BufferSection;
use crate::status::StatusSection;
use crate::uplink::UplinkSection;

/// The JSON schema of the file, for editors.
pub(crate) fn schema() -> String {
    let mut schema = schemars::schema_for!(File).to_value();
    for section in sections_with_a_name(&schema) {
        if let Some(keys) = schema.pointer_mut(&format!("{section}/properties")) {
            keys[ENABLED] = json!({ "type": "boolean", "default": true,
                "description": "`false` leaves this section out, as if it were not there." });
        }
    }
    format!("{schema:#}\n")
}

/// Where the sections are that stand in lists, and have a name: a layer may leave them out.
fn sections_with_a_name(schema: &Value) -> Vec<String> {
    let lists = schema.get("properties").and_then(Value::as_object);
    let elements = lists.into_iter().flatten().filter_map(|(_, list)| {
        let element = list.pointer("/items/$ref")?.as_str()?;
        Some(element.strip_prefix('#')?.to_owned())
    });
    let has_name = |at: &String| schema.pointer(&format!("{at}/properties/name")).is_some();
    elements.filter(has_name).collect()
}

/// The whole configuration file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub gateway: GatewaySection,
    #[serde(default)]
    pub log: LogSection,
    #[serde(default)]
    pub status: StatusSection,
    pub uplink: UplinkSection,
    #[serde(default)]
    pub replay: ReplaySection,
    #[serde(default)]
    pub link: LinkSection,
    #[serde(default)]
    pub buffer: BufferSection,
    #[serde(default)]
    pub memory: MemorySection,
    #[serde(default)]
    pub fleet: FleetSection,
    /// MQTT sources.
    #[serde(default)]
    pub mqtt: Vec<MqttSection>,
    /// Modbus buses.
    #[serde(default)]
    pub modbus: Vec<ModbusSection>,
    /// Inputs for local inference programs.
    #[serde(default)]
    pub inference: Vec<InferenceSection>,
    /// Rules that say which intent an event has; the first match wins.
    #[serde(default)]
    pub route: Vec<RouteSection>,
    /// Intents: changes to the built-in ones, and more.
    #[serde(default)]
    pub intent: Vec<IntentSection>,
}

/// Where the state is unless a configuration says it.
pub(crate) const STATE_DIR: &str = "/var/lib/tidegate";

/// `[gateway]`: who this gateway is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewaySection {
    /// Identity, unique in the fleet. Default: the host name.
    pub id: Option<String>,
    pub site: Option<String>,
    pub region: Option<String>,
    /// Free tags, for templates.
    pub tags: BTreeMap<String, String>,
    /// Where the buffer is. Default: `"/var/lib/tidegate"`.
    pub state_dir: PathBuf,
    /// Free space on that file system which is left to others. Default: `"32 MiB"`.
    pub free_floor: Size,
    /// How long a stop may take to deliver what is left. Default: `"10s"`.
    pub stop_grace: Span,
}

impl File {
    /// All sources, in the order in which they are started.
    pub(super) fn sources(&self) -> impl Iterator<Item = SourceSettings> {
        let mqtt = self.mqtt.iter().cloned().map(SourceSettings::Mqtt);
        let modbus = self.modbus.iter().cloned().map(SourceSettings::Modbus);
        let inference = self.inference.iter().cloned();
        mqtt.chain(modbus)
            .chain(inference.map(SourceSettings::Inference))
    }
}

#[cfg(feature = "simulate")]
impl File {
    /// Nothing but what has no default.
    pub(crate) fn of_defaults() -> File {
        toml::from_str("[uplink]\nbrokers = [\"localhost:9092\"]\n").expect("it is complete")
    }
}

impl Default for GatewaySection {
    fn default() -> Self {
        GatewaySection {
            id: None,
            site: None,
            region: None,
            tags: BTreeMap::new(),
            state_dir: STATE_DIR.into(),
            free_floor: Size(32 << 20),
            stop_grace: Span(Duration::from_secs(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_key_that_leaves_a_section_out_wherever_it_counts() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let mut sections = sections_with_a_name(&schema);
        sections.sort();
        let names = [
            "InferenceSection",
            "IntentSection",
            "ModbusSection",
            "MqttSection",
        ];
        assert_eq!(sections, names.map(|name| format!("/$defs/{name}")));
        for section in sections {
            let key = schema.pointer(&format!("{section}/properties/enabled/type"));
            assert_eq!(key, Some(&json!("boolean")), "{section}");
        }
    }
}
