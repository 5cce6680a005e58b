//! `--config-file`: etcd's YAML, the options by their names, TLS in two nested
//! maps.

use super::ConfigError;
use super::flags::{Given, find, nearest};
use saphyr::{LoadableYamlNode, Scalar, Yaml};

/// Reads the options in this text.
pub(super) fn parse(path: &str, text: &str) -> Result<Given, ConfigError> {
    let broken = |why: String| ConfigError::BadFile { path: path.to_owned(), why };
    let documents = Yaml::load_from_str(text).map_err(|error| broken(error.to_string()))?;
    let mut given = Given::new();
    let Some(document) = documents.first() else { return Ok(given) };
    if matches!(document, Yaml::Value(Scalar::Null)) {
        return Ok(given);
    }
    let Yaml::Mapping(options) = document else {
        return Err(broken("it must be a map from options to values".to_owned()));
    };
    for (key, value) in options {
        let Some(key) = key.as_str() else {
            return Err(broken("an option's name is not a word".to_owned()));
        };
        match key {
            "client-transport-security" => add_nested(&mut given, "", value, &broken)?,
            "peer-transport-security" => add_nested(&mut given, "peer-", value, &broken)?,
            _ => add(&mut given, key, value, &broken)?,
        }
    }
    Ok(given)
}

fn add_nested(
    given: &mut Given,
    prefix: &str,
    options: &Yaml<'_>,
    broken: &impl Fn(String) -> ConfigError,
) -> Result<(), ConfigError> {
    match options {
        Yaml::Value(Scalar::Null) => Ok(()),
        Yaml::Mapping(options) => {
            for (key, value) in options {
                let key = key.as_str().unwrap_or_default();
                // In the nested maps these two have names of their own.
                let name = match (prefix, key) {
                    ("peer-", "allowed-cn") => "peer-cert-allowed-cn".to_owned(),
                    ("peer-", "allowed-hostname") => "peer-cert-allowed-hostname".to_owned(),
                    ("", "allowed-hostname") => "client-cert-allowed-hostname".to_owned(),
                    ("", "client-cert-auth") => key.to_owned(),
                    _ => format!("{prefix}{key}"),
                };
                add(given, &name, value, broken)?;
            }
            Ok(())
        }
        _ => Err(broken("transport security must be a map".to_owned())),
    }
}

fn add(
    given: &mut Given,
    key: &str,
    value: &Yaml<'_>,
    broken: &impl Fn(String) -> ConfigError,
) -> Result<(), ConfigError> {
    let flag = find(key)
        .ok_or_else(|| ConfigError::UnknownFlag { name: key.to_owned(), nearest: nearest(key) })?;
    let text = match value {
        Yaml::Value(Scalar::Null) => return Ok(()),
        Yaml::Value(Scalar::Boolean(value)) => value.to_string(),
        Yaml::Value(Scalar::Integer(value)) => value.to_string(),
        Yaml::Value(Scalar::FloatingPoint(value)) => value.to_string(),
        Yaml::Value(Scalar::String(value)) => value.to_string(),
        Yaml::Sequence(items) => {
            let items: Option<Vec<&str>> = items.iter().map(|item| item.as_str()).collect();
            items.ok_or_else(|| broken(format!("{key} must be a list of words")))?.join(",")
        }
        _ => return Err(broken(format!("{key} must be one value"))),
    };
    if !text.is_empty() {
        given.insert(flag.name, text);
    }
    Ok(())
}
