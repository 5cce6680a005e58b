//! `--config-file`: etcd's YAML, the options by their names, TLS in two nested
//! maps.

use super::ConfigError;
use super::flags::{Given, find, nearest};
use saphyr::{LoadableYamlNode, Scalar, Yaml};

/// Reads the options in this text, which stands in the file at `path`.
pub(super) fn parse(path: &str, text: &str) -> Result<Given, ConfigError> {
    let mut file = File { path, given: Given::new() };
    let documents = Yaml::load_from_str(text).map_err(|error| file.broken(error.to_string()))?;
    match documents.first() {
        None | Some(Yaml::Value(Scalar::Null)) => {}
        Some(Yaml::Mapping(options)) => {
            for (key, value) in options {
                let key = file.word(key)?;
                match key {
                    "client-transport-security" => file.add_nested(key, "", value)?,
                    "peer-transport-security" => file.add_nested(key, "peer-", value)?,
                    _ => file.add(key, key, value)?,
                }
            }
        }
        Some(_) => return Err(file.broken("it must be a map from options to values".to_owned())),
    }
    Ok(file.given)
}

/// A file being read.
struct File<'a> {
    path: &'a str,
    given: Given,
}

impl File<'_> {
    fn broken(&self, why: String) -> ConfigError {
        ConfigError::BadFile { path: self.path.to_owned(), why }
    }

    fn word<'y>(&self, key: &'y Yaml<'_>) -> Result<&'y str, ConfigError> {
        key.as_str().ok_or_else(|| self.broken("an option's name is not a word".to_owned()))
    }

    fn add_nested(
        &mut self,
        map: &str,
        prefix: &str,
        options: &Yaml<'_>,
    ) -> Result<(), ConfigError> {
        let options = match options {
            Yaml::Value(Scalar::Null) => return Ok(()),
            Yaml::Mapping(options) => options,
            _ => return Err(self.broken(format!("{map} must be a map"))),
        };
        for (key, value) in options {
            let key = self.word(key)?;
            // In the nested maps these have names of their own.
            let name = match (prefix, key) {
                ("peer-", "allowed-cn") => "peer-cert-allowed-cn".to_owned(),
                ("peer-", "allowed-hostname") => "peer-cert-allowed-hostname".to_owned(),
                ("", "allowed-hostname") => "client-cert-allowed-hostname".to_owned(),
                _ => format!("{prefix}{key}"),
            };
            self.add(key, &name, value)?;
        }
        Ok(())
    }

    /// Adds the option `name`, which is called `key` here.
    fn add(&mut self, key: &str, name: &str, value: &Yaml<'_>) -> Result<(), ConfigError> {
        let flag = find(name).ok_or_else(|| ConfigError::UnknownKey {
            path: self.path.to_owned(),
            key: key.to_owned(),
            nearest: nearest(name),
        })?;
        let text = match value {
            Yaml::Value(Scalar::Null) => return Ok(()),
            Yaml::Value(Scalar::Boolean(value)) => value.to_string(),
            Yaml::Value(Scalar::Integer(value)) => value.to_string(),
            Yaml::Value(Scalar::FloatingPoint(value)) => value.to_string(),
            Yaml::Value(Scalar::String(value)) => value.to_string(),
            Yaml::Sequence(items) => {
                let items: Option<Vec<&str>> = items.iter().map(|item| item.as_str()).collect();
                items
                    .ok_or_else(|| self.broken(format!("{key} must be a list of words")))?
                    .join(",")
            }
            _ => return Err(self.broken(format!("{key} must be one value"))),
        };
        if !text.is_empty() {
            self.given.insert(flag.name, text);
        }
        Ok(())
    }
}
