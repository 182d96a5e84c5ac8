//! A conversation as templates see it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of a conversation. Reads and writes the JSON of chat APIs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or whatever else the template knows.
    pub role: String,
    /// What was said.
    #[serde(default)]
    pub content: Content,
    /// What the model thought before it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Calls of tools that an assistant asks for, as JSON in the form of chat APIs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<Value>>,
    /// Of a tool's answer: the call that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Who speaks; of a tool's answer, the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The content of a [`Message`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// None: an assistant that only calls tools.
    #[default]
    Nothing,
    /// Text.
    Text(String),
    /// Typed parts, such as `{"type": "text", "text": "..."}`, for templates that read them.
    Parts(Vec<Value>),
}

impl Message {
    /// A message of `role` that is text.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self { role: role.into(), content: Content::Text(text.into()), ..Self::default() }
    }
}

/// A message with the names under which templates look for the reasoning: `reasoning_content`, and `thinking` too.
#[derive(Serialize)]
pub(super) struct TemplateMessage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    #[serde(flatten)]
    message: &'a Message,
}

impl<'a> From<&'a Message> for TemplateMessage<'a> {
    fn from(message: &'a Message) -> Self {
        Self { thinking: message.reasoning_content.as_deref(), message }
    }
}
