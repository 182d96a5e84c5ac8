//! A conversation with a language model: messages through its chat template, answers as text, thoughts told apart.

use std::ops::ControlFlow;
use std::path::Path;

use babil_runtime::generate::{Overflow, Progress};
use babil_runtime::text::{
    ChatTemplate, Content, Marks, Message, Part, RenderOptions, ThinkingSplitter, ThinkingSwitch, ThinkingTags,
};
use babil_runtime::{Error, Result, Token};
use serde::Serialize;

use crate::language::{Answer, LanguageModel, News, Request, TextGenerator};

/// Whether a model thinks before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Think {
    /// As the model's template has it.
    #[default]
    Default,
    /// It should.
    Yes,
    /// It should not.
    No,
}

/// What happens while an answer is made.
#[derive(Clone, Copy, Debug)]
pub enum ChatNews<'a> {
    /// The prompt is being computed.
    Prompt(Progress),
    /// A piece of what the model thinks.
    Thought(&'a str),
    /// A piece of its answer.
    Answer(&'a str),
}

/// An answer of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct ChatAnswer {
    /// The answer, without the model's thoughts.
    pub text: String,
    /// What it thought.
    pub thought: Option<String>,
    /// What was generated, and how.
    #[serde(skip)]
    pub generated: Answer,
}

/// A conversation.
pub struct Chat<'m> {
    model: &'m LanguageModel,
    template: ChatTemplate,
    generator: Box<dyn TextGenerator>,
    messages: Vec<Message>,
    think: Think,
    last: Option<Answer>,
}

impl std::fmt::Debug for Chat<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chat").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl<'m> Chat<'m> {
    /// A new conversation, with a system prompt if there is one.
    ///
    /// # Errors
    /// The model has no chat template or a wrong one, or cannot be told to think.
    pub fn new(model: &'m LanguageModel, system: Option<&str>, think: Think) -> Result<Self> {
        let template = model.template()?.ok_or_else(|| {
            Error::Unsupported(format!("{} has no chat template: it continues text only", model.path().display()))
        })?;
        if think == Think::Yes && model.thinking() == ThinkingSwitch::None {
            let problem = format!("{}: its chat template knows nothing of thinking", model.path().display());
            return Err(Error::Unsupported(problem));
        }
        let messages = system.map(|text| Message::new("system", text)).into_iter().collect();
        Ok(Self { model, template, generator: model.generator()?, messages, think, last: None })
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The system prompt, where there is one.
    pub fn system(&self) -> Option<&str> {
        match &self.messages.iter().find(|message| message.role == "system")?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Stores the conversation, and all that the model remembers of it.
    ///
    /// # Errors
    /// As [`TextGenerator::save`].
    pub fn save(&self, path: &Path) -> Result<()> {
        self.generator.save(path, &serde_json::to_string(&self.messages).expect("messages are JSON"))
    }

    /// Goes on with a conversation that [`Chat::save`] stored.
    ///
    /// # Errors
    /// As [`TextGenerator::restore`].
    pub fn restore(&mut self, path: &Path) -> Result<()> {
        let notes = self.generator.restore(path)?;
        self.messages = serde_json::from_str(&notes)
            .map_err(|_| Error::bad_file(path.display().to_string(), "is a session of plain text, not of a chat"))?;
        Ok(())
    }

    /// Forgets everything but the system prompt.
    pub fn clear(&mut self) {
        self.messages.retain(|message| message.role == "system");
    }

    /// Takes the last question and its answer back, and returns the question.
    pub fn take_last_question(&mut self) -> Option<String> {
        let at = self.messages.iter().rposition(|message| message.role == "user")?;
        let question = self.messages.drain(at..).next()?;
        match question.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How the last answer was made.
    pub fn last(&self) -> Option<&Answer> {
        self.last.as_ref()
    }

    /// Forgets the last answer, and the question before it if there is one; says whether there was anything to forget.
    pub fn undo(&mut self) -> bool {
        let before = self.messages.len();
        while let Some(last) = self.messages.last() {
            let role = last.role.clone();
            if role == "system" {
                break;
            }
            self.messages.pop();
            if role == "user" {
                break;
            }
        }
        self.messages.len() < before
    }

    /// The text of the prompt for an answer, and its tokens.
    ///
    /// # Errors
    /// The template's own.
    pub fn prompt(&self) -> Result<(String, Vec<Token>)> {
        self.prompt_of(self.messages.clone())
    }

    fn prompt_of(&self, mut messages: Vec<Message>) -> Result<(String, Vec<Token>)> {
        let tokenizer = self.model.tokenizer();
        let special = tokenizer.special();
        let name = |token: Option<Token>| {
            token.and_then(|token| Some(String::from_utf8_lossy(tokenizer.token_bytes(token)?).into_owned()))
        };
        let mut options = RenderOptions {
            add_generation_prompt: true,
            bos_token: name(special.bos),
            eos_token: name(special.eos),
            ..RenderOptions::default()
        };
        match (self.think, self.model.thinking()) {
            (Think::Default, _) | (_, ThinkingSwitch::None) => {}
            (think, ThinkingSwitch::Variable) => options.enable_thinking = Some(think == Think::Yes),
            (think, ThinkingSwitch::Words) => {
                let word = if think == Think::Yes { " /think" } else { " /no_think" };
                let last = messages.iter_mut().rev().find(|message| message.role == "user");
                if let Some(Message { content: Content::Text(text), .. }) = last {
                    text.push_str(word);
                }
            }
        }
        let text = self.template.render(&messages, &options)?;
        let tokens = tokenizer.prompt(&text, Marks::Parse)?;
        Ok((text, tokens))
    }

    /// Tokens of the prompt that come before anything that was said: the system prompt, also one that the template has of
    /// its own.
    fn system_tokens(&self, prompt: &[Token]) -> usize {
        let system: Vec<_> = self.messages.iter().take_while(|message| message.role == "system").cloned().collect();
        let said = |text: &str| {
            let messages = system.iter().cloned().chain([Message::new("user", text)]).collect();
            self.prompt_of(messages).map_or(Vec::new(), |(_, tokens)| tokens)
        };
        let common = |other: Vec<Token>| prompt.iter().zip(other).take_while(|(a, b)| *a == b).count();
        common(said("0")).min(common(said("?")))
    }

    /// Says `text` and lets the model answer. Of an answer that was cancelled, what came so far is kept. A shift of the
    /// context keeps the system prompt at least.
    ///
    /// # Errors
    /// The template's own, a conversation that no longer fits, or the model's own; the message is taken back.
    pub fn say(
        &mut self,
        text: &str,
        request: &Request,
        news: &mut dyn FnMut(ChatNews<'_>) -> ControlFlow<()>,
    ) -> Result<ChatAnswer> {
        self.messages.push(Message::new("user", text));
        let answer = self.answer(request, news);
        match &answer {
            Ok(answer) => {
                let mut message = Message::new("assistant", answer.text.clone());
                message.reasoning_content = answer.thought.clone();
                self.last = Some(answer.generated.clone());
                self.messages.push(message);
            }
            Err(_) => {
                self.messages.pop();
            }
        }
        answer
    }

    fn answer(
        &mut self,
        request: &Request,
        news: &mut dyn FnMut(ChatNews<'_>) -> ControlFlow<()>,
    ) -> Result<ChatAnswer> {
        let (prompt, tokens) = self.prompt()?;
        let mut request = request.clone();
        if let Overflow::Shift { keep } = &mut request.overflow {
            *keep = self.system_tokens(&tokens).max(*keep);
        }
        let mut splitter = ThinkingSplitter::after(&prompt, ThinkingTags::THINK);
        let (mut answer, mut thought) = (String::new(), None::<String>);
        let mut parts = Vec::new();
        let mut tell = |parts: &mut Vec<Part>, news: &mut dyn FnMut(ChatNews<'_>) -> ControlFlow<()>| {
            let mut flow = ControlFlow::Continue(());
            for part in parts.drain(..) {
                let told = match &part {
                    Part::Thought(text) => {
                        thought.get_or_insert_default().push_str(text);
                        news(ChatNews::Thought(text))
                    }
                    Part::Answer(text) => {
                        answer.push_str(text);
                        news(ChatNews::Answer(text))
                    }
                };
                if told.is_break() {
                    flow = told;
                }
            }
            flow
        };
        let generated = self.generator.generate(&tokens, &request, &mut |event| match event {
            News::Prompt(progress) => news(ChatNews::Prompt(progress)),
            News::Text(text) => {
                splitter.push(text, &mut parts);
                tell(&mut parts, news)
            }
        })?;
        splitter.finish(&mut parts);
        let _ = tell(&mut parts, news);
        Ok(ChatAnswer { text: answer, thought, generated })
    }
}
