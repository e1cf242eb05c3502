//! A config of ours as text that a person goes on with: a key a line, comments where they belong.

use serde_json::{Value, json};

use super::Place;

/// A config under construction.
#[derive(Debug, Default)]
pub struct Document {
    /// The keys beside `programs`.
    pub settings: Keys,
    pub programs: Vec<Program>,
}

/// One program.
#[derive(Debug, Default)]
pub struct Program {
    pub name: String,
    pub keys: Keys,
}

/// The keys of an object in their order, and what could not become one.
#[derive(Debug, Default)]
pub struct Keys {
    keys: Vec<(&'static str, Value)>,
    remarks: Vec<String>,
}

impl Keys {
    /// Sets a key.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, value.into()));
    }

    /// Sets a key of an object under this key.
    pub fn set_in(&mut self, key: &'static str, inner: &str, value: impl Into<Value>) {
        let known = self.keys.iter_mut().find(|(known, _)| *known == key);
        match known {
            Some((_, object)) => object[inner] = value.into(),
            None => self.keys.push((key, json!({ inner: value.into() }))),
        }
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let (_, value) = self.keys.iter().find(|(known, _)| *known == key)?;
        Some(value)
    }

    /// Adds what has no equal: the text of the other file, and what to do instead.
    pub fn remark(&mut self, place: &Place, what: &str, instead: &str) {
        let Place { file, line } = place;
        self.remarks
            .push(format!("{file}:{line}: {what}: {instead}"));
    }

    fn write(&self, out: &mut String, indent: &str) {
        for remark in &self.remarks {
            // A line break would end the comment.
            let remark = remark.replace(['\n', '\r'], " ");
            *out += &format!("{indent}// {remark}\n");
        }
        for (key, value) in &self.keys {
            *out += &format!("{indent}\"{key}\": {value},\n");
        }
    }
}

impl Document {
    /// Counts what has no equal.
    pub fn remarks(&self) -> usize {
        let programs = self.programs.iter().map(|program| &program.keys);
        let all = programs.chain([&self.settings]);
        all.map(|keys| keys.remarks.len()).sum()
    }

    /// Returns the file.
    pub fn text(&self) -> String {
        let mut text = "{\n".to_owned();
        self.settings.write(&mut text, "  ");
        text += "  \"programs\": {\n";
        for Program { name, keys } in &self.programs {
            text += &format!("    {}: {{\n", Value::from(name.as_str()));
            keys.write(&mut text, "      ");
            text += "    },\n";
        }
        text + "  },\n}\n"
    }
}
