//! `cim emit event`: one event from options, or many as JSON Lines, as `cim tail EVENT` prints them.

use std::io;

use clap::Args;
use serde_json::Value;

use super::{EmitError, Lines, Publisher, input_bar};
use crate::clock;
use crate::wire::{EventFields, encode_event};

/// `cim emit event`.
#[derive(Debug, Args)]
pub struct EmitEventArgs {
    /// What happened; `-` reads standard input: an event a line, as `cim tail EVENT` prints them
    #[arg(value_name = "NAME")]
    name: String,
    /// What it happened to (each of these may be given several times)
    #[arg(short = 'o', long, value_name = "KEY=VALUE", value_parser = pair)]
    managed_object: Vec<(String, String)>,
    /// Further facts
    #[arg(short = 'a', long, value_name = "KEY=VALUE", value_parser = pair)]
    additional_info: Vec<(String, String)>,
    /// Thresholds that were crossed
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    threshold_info: Vec<(String, String)>,
    /// States before and after
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    state_change_definition: Vec<(String, String)>,
    /// What was watched
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    monitored_attributes: Vec<(String, String)>,
    /// Id of the container that says so
    #[arg(long, value_name = "ID", default_value = "0000")]
    container_id: String,
    /// Id of the source
    #[arg(long, value_name = "ID", default_value = "")]
    source_id: String,
    /// Name of the source
    #[arg(long, value_name = "NAME", default_value = "")]
    source_name: String,
    /// Kind of the source
    #[arg(long, value_name = "KIND", default_value = "")]
    event_source_type: String,
    /// When, in milliseconds since the epoch [default: now]
    #[arg(long, value_name = "MS")]
    time: Option<i64>,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

type Pairs = Vec<(String, String)>;

/// An event before it is encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Draft {
    /// Name, container id, source id, source name, kind of the source.
    texts: [String; 5],
    time: i64,
    /// In the order of `cim.fbs`.
    lists: [Pairs; 5],
}

const TEXTS: [&str; 5] = [
    "event_name",
    "container_id",
    "source_id",
    "source_name",
    "event_source_type",
];
const LISTS: [&str; 5] = [
    "managed_object",
    "additional_info",
    "threshold_info",
    "state_change_definition",
    "monitored_attributes",
];

impl Draft {
    fn of_args(args: &EmitEventArgs) -> Self {
        Self {
            texts: [
                &args.name,
                &args.container_id,
                &args.source_id,
                &args.source_name,
                &args.event_source_type,
            ]
            .map(String::clone),
            time: args.time.unwrap_or_else(now),
            lists: [
                &args.managed_object,
                &args.additional_info,
                &args.threshold_info,
                &args.state_change_definition,
                &args.monitored_attributes,
            ]
            .map(Vec::clone),
        }
    }

    /// What `cim tail EVENT` prints; without a time it is now.
    fn parse(line: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let Value::Object(members) = value else {
            return Err("no JSON object".to_owned());
        };
        let mut draft = Self {
            time: now(),
            ..Self::default()
        };
        for (name, value) in members {
            let place = |names: [&str; 5]| names.into_iter().position(|known| known == name);
            let text = place(TEXTS).and_then(|at| draft.texts.get_mut(at));
            if let (Some(text), Value::String(value)) = (text, &value) {
                value.clone_into(text);
                continue;
            }
            let list = place(LISTS).and_then(|at| draft.lists.get_mut(at));
            if let (Some(list), Some(pairs)) = (list, pairs(&value)) {
                *list = pairs;
                continue;
            }
            match (name.as_str(), value.as_i64()) {
                ("event_time", Some(time)) => draft.time = time,
                _ => {
                    return Err(format!(
                        "{name:?} is no member of an event, or has no such value"
                    ));
                }
            }
        }
        match draft.texts.first().is_some_and(String::is_empty) {
            true => Err("it has no event_name".to_owned()),
            false => Ok(draft),
        }
    }

    fn publish(&self, to: &mut Publisher<'_>) -> Result<(), EmitError> {
        let [name, container_id, source_id, source_name, kind] = &self.texts;
        let lists = self.lists.each_ref().map(|list| {
            let pairs = list.iter();
            pairs
                .map(|(key, value)| (key.as_bytes(), value.as_bytes()))
                .collect::<Vec<_>>()
        });
        let [objects, info, thresholds, states, attributes] = &lists;
        let fields = EventFields {
            event_name: name.as_bytes(),
            event_time: self.time,
            container_id: container_id.as_bytes(),
            managed_object: objects,
            additional_info: info,
            threshold_info: thresholds,
            state_change_definition: states,
            monitored_attributes: attributes,
            source_id: source_id.as_bytes(),
            source_name: source_name.as_bytes(),
            event_source_type: kind.as_bytes(),
        };
        encode_event(&fields, &mut to.builder);
        to.publish("EVENT", to.builder.finished_data())
    }
}

fn now() -> i64 {
    i64::try_from(clock::now_ms()).unwrap_or(i64::MAX)
}

/// `[{"key":"value"},…]`.
fn pairs(value: &Value) -> Option<Pairs> {
    let mut all = Vec::new();
    for object in value.as_array()? {
        for (key, value) in object.as_object()? {
            all.push((key.clone(), value.as_str()?.to_owned()));
        }
    }
    Some(all)
}

pub(super) fn publish(args: &EmitEventArgs, to: &mut Publisher<'_>) -> Result<(), EmitError> {
    if args.name != "-" {
        return Draft::of_args(args).publish(to);
    }
    let mut lines = Lines::new(io::stdin().lock(), to.room());
    let mut line = 0;
    let mut bar = input_bar("events");
    while let Some(text) = lines
        .next()
        .map_err(|source| EmitError::Input { line, source })?
    {
        line += 1;
        if text.trim_ascii().is_empty() {
            continue;
        }
        let draft = Draft::parse(text).map_err(|reason| EmitError::Event { line, reason })?;
        draft.publish(to)?;
        bar.advance(text.len() as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::show::show;

    fn shown(draft: &Draft) -> String {
        let lists = draft.lists.each_ref().map(|list| {
            let pairs = list.iter();
            pairs
                .map(|(k, v)| (k.as_bytes(), v.as_bytes()))
                .collect::<Vec<_>>()
        });
        let mut builder = flatbuffers::FlatBufferBuilder::new();
        let fields = EventFields {
            event_name: draft.texts[0].as_bytes(),
            event_time: draft.time,
            managed_object: &lists[0],
            additional_info: &lists[1],
            source_name: draft.texts[3].as_bytes(),
            ..EventFields::default()
        };
        encode_event(&fields, &mut builder);
        let mut text = String::new();
        show("EVENT", builder.finished_data(), false, &mut text);
        text
    }

    #[test]
    fn what_tail_prints_is_read_again() {
        let draft = Draft {
            texts: ["LinkUp", "", "", "switch \"1\"", ""].map(str::to_owned),
            time: 5,
            lists: [
                vec![
                    ("mo".to_owned(), "é".to_owned()),
                    ("mo".to_owned(), "2".to_owned()),
                ],
                vec![("a=b".to_owned(), String::new())],
                vec![],
                vec![],
                vec![],
            ],
        };
        assert_eq!(Draft::parse(shown(&draft).as_bytes()), Ok(draft));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"event_name":""}"#,
            r#"{"event_name":7}"#,
            r#"{"event_name":"x","colour":"red"}"#,
            r#"{"event_name":"x","managed_object":{"a":"b"}}"#,
            r#"{"event_name":"x","managed_object":[{"a":1}]}"#,
            r#"{"event_name":"x","event_time":"now"}"#,
        ] {
            assert!(Draft::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Draft::parse(br#"{"event_name":"x"}"#).unwrap().time > 1_700_000_000_000);
    }

    #[test]
    fn a_pair_is_cut_at_its_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("a").is_err());
    }
}
