//! A report as it came: one line of stdout.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The fields of a report, in the order that is promised.
pub const FIELDS: [&str; 19] = [
    "process",
    "timestamp",
    "utc_iso",
    "data",
    "return_code",
    "pid",
    "uptime",
    "restarts",
    "retry_in",
    "signal",
    "core_dumped",
    "stopping",
    "log",
    "log_offset",
    "data_omitted",
    "error",
    "cause",
    "text",
    "log_rotated",
];

/// One report.
#[derive(Clone)]
pub struct Report {
    pub line: String,
    value: Value,
}

impl Report {
    /// Reads a line of stdout; `None` if it is no report.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8(line.to_vec()).ok()?;
        let value: Value = serde_json::from_str(&line).ok()?;
        value.get("process")?;
        Some(Self { line, value })
    }

    pub fn get(&self, field: &str) -> &Value {
        self.value
            .get(field)
            .unwrap_or_else(|| panic!("no {field} in {}", self.line))
    }

    pub fn name(&self) -> &str {
        self.text("process").expect("process is a string")
    }

    pub fn code(&self) -> i64 {
        self.get("return_code")
            .as_i64()
            .expect("return_code is an integer")
    }

    pub fn pid(&self) -> Option<i32> {
        let pid = self.get("pid");
        (!pid.is_null()).then(|| pid.as_i64().expect("pid is an integer or null") as i32)
    }

    pub fn data(&self) -> Vec<u8> {
        STANDARD
            .decode(self.text("data").expect("data is a string"))
            .expect("data is Base64")
    }

    /// Seconds, or `None` for null.
    pub fn retry_in(&self) -> Option<f64> {
        self.get("retry_in").as_f64()
    }

    pub fn seconds(&self, field: &str) -> f64 {
        self.get(field)
            .as_f64()
            .unwrap_or_else(|| panic!("no number {field} in {}", self.line))
    }

    pub fn count(&self, field: &str) -> u64 {
        self.get(field)
            .as_u64()
            .unwrap_or_else(|| panic!("no count {field} in {}", self.line))
    }

    pub fn flag(&self, field: &str) -> bool {
        self.get(field)
            .as_bool()
            .unwrap_or_else(|| panic!("no bool {field} in {}", self.line))
    }

    pub fn stopping(&self) -> bool {
        self.flag("stopping")
    }

    pub fn text(&self, field: &str) -> Option<&str> {
        self.get(field).as_str()
    }

    pub fn signal(&self) -> Option<&str> {
        self.text("signal")
    }

    /// The reason why there is no status; empty if there is none.
    pub fn error(&self) -> &str {
        self.text("error").unwrap_or("")
    }

    /// The keys in their order in the line.
    pub fn keys_in_order(&self) -> Vec<String> {
        let keys = self
            .value
            .as_object()
            .expect("a report is an object")
            .keys();
        let place = |key: &String| {
            self.line
                .find(&format!("\"{key}\":"))
                .expect("a key is there")
        };
        let mut keys: Vec<String> = keys.cloned().collect();
        keys.sort_by_key(place);
        keys
    }
}

impl std::fmt::Debug for Report {
    /// Without the data, which would hide the rest.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut value = self.value.clone();
        if let Some(fields) = value.as_object_mut() {
            let data = self.data();
            let shown = String::from_utf8_lossy(&data[..data.len().min(80)]).into_owned();
            fields.insert(
                "data".to_owned(),
                format!("{} bytes: {shown}", data.len()).into(),
            );
        }
        write!(f, "{value}")
    }
}
