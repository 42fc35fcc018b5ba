//! The sources there are: a closed set, each with its name, what is wrong with it, the intents that it uses, and its start.

use std::path::PathBuf;
use std::time::Duration;

use crate::inference::{Inference, InferenceError, InferenceSection};
use crate::modbus::{Modbus, ModbusSection};
use crate::mqtt::{Mqtt, MqttError, MqttSection};
use crate::{Context, Intake, Receipts, Stop};

/// One source as it is configured.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSettings {
    Mqtt(MqttSection),
    Modbus(ModbusSection),
    Inference(InferenceSection),
}

/// A source that can run.
#[derive(Debug)]
pub struct Source {
    name: String,
    adapter: Adapter,
}

#[derive(Debug)]
enum Adapter {
    Mqtt(Box<Mqtt>),
    Modbus(Box<Modbus>),
    Inference(Box<Inference>),
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("mqtt source `{name}`")]
    Mqtt { name: String, source: MqttError },
    #[error("inference input `{name}`")]
    Inference {
        name: String,
        source: InferenceError,
    },
}

impl SourceSettings {
    /// The section's name in the configuration file.
    #[must_use]
    pub fn section(&self) -> &'static str {
        match self {
            SourceSettings::Mqtt(_) => "mqtt",
            SourceSettings::Modbus(_) => "modbus",
            SourceSettings::Inference(_) => "inference",
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            SourceSettings::Mqtt(section) => &section.name,
            SourceSettings::Modbus(section) => &section.name,
            SourceSettings::Inference(section) => &section.name,
        }
    }

    /// What is wrong with it: the key below the section, and what would be right.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        match self {
            SourceSettings::Mqtt(section) => section.problems(),
            SourceSettings::Modbus(section) => section.problems(),
            SourceSettings::Inference(section) => section.problems(),
        }
    }

    /// What of it can never work, though versions before let it through: as [`SourceSettings::problems`].
    #[must_use]
    pub fn futile(&self) -> Vec<(String, String)> {
        match self {
            SourceSettings::Mqtt(section) => section.futile(),
            SourceSettings::Modbus(section) => section.line.futile().into_iter().collect(),
            SourceSettings::Inference(_) => Vec::new(),
        }
    }

    /// What of it works and is hardly meant: as [`SourceSettings::problems`].
    #[must_use]
    pub fn doubts(&self) -> Vec<(String, String)> {
        match self {
            SourceSettings::Mqtt(section) => section.doubts(),
            SourceSettings::Modbus(section) => section.line.doubts().into_iter().collect(),
            SourceSettings::Inference(_) => Vec::new(),
        }
    }

    /// Files that it cannot begin without: the key below the section, and the path.
    #[must_use]
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        match self {
            SourceSettings::Mqtt(section) => section.needed_files(),
            SourceSettings::Modbus(_) | SourceSettings::Inference(_) => Vec::new(),
        }
    }

    /// The intents that it names: the key below the section, and the intent.
    #[must_use]
    pub fn intents(&self) -> Vec<(String, &str)> {
        match self {
            SourceSettings::Mqtt(section) => {
                let all = section.subscribe.iter().enumerate();
                let keyed = all.map(|(s, one)| (format!("subscribe[{s}].intent"), &one.intent));
                keyed.filter_map(given).collect()
            }
            SourceSettings::Modbus(section) => section.intents().filter_map(given).collect(),
            SourceSettings::Inference(section) => given(("intent".into(), &section.intent))
                .into_iter()
                .collect(),
        }
    }

    /// The longest time between two of its own looks, where it polls; zero for a source that its peers write to.
    #[must_use]
    pub fn interval(&self) -> Duration {
        match self {
            SourceSettings::Mqtt(_) | SourceSettings::Inference(_) => Duration::ZERO,
            SourceSettings::Modbus(section) => section.interval(),
        }
    }

    /// Reads what it needs of files and of the machine; connects nothing.
    ///
    /// # Errors
    /// When a file or a group that it names cannot be used.
    pub fn open(&self, context: &Context<'_>) -> Result<Source, SourceError> {
        let name = self.name().to_owned();
        let adapter = match self {
            SourceSettings::Mqtt(section) => match Mqtt::new(section, context) {
                Ok(mqtt) => Adapter::Mqtt(Box::new(mqtt)),
                Err(source) => return Err(SourceError::Mqtt { name, source }),
            },
            SourceSettings::Modbus(section) => Adapter::Modbus(Box::new(Modbus::new(
                section,
                context.health,
                context.is_urgent,
            ))),
            SourceSettings::Inference(section) => match Inference::new(section, context) {
                Ok(inference) => Adapter::Inference(Box::new(inference)),
                Err(source) => return Err(SourceError::Inference { name, source }),
            },
        };
        Ok(Source { name, adapter })
    }
}

fn given((key, intent): (String, &Option<String>)) -> Option<(String, &str)> {
    intent.as_deref().map(|intent| (key, intent))
}

impl Source {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs until stopped.
    pub async fn run(self, intake: Intake, receipts: Receipts, stop: Stop) {
        match self.adapter {
            Adapter::Mqtt(mqtt) => mqtt.run(intake, receipts, stop).await,
            Adapter::Modbus(modbus) => modbus.run(intake, receipts, stop).await,
            Adapter::Inference(inference) => inference.run(intake, receipts, stop).await,
        }
    }
}
