//! What a model thinks, told apart from what it answers.
//!
//! Reasoning models write `<think>...</think>` before their answer. Some templates end a prompt with `<think>` already,
//! so that only the end is ever generated. A [`ThinkingSplitter`] takes the text as it is generated, in pieces of any
//! size, and hands out each part as soon as no tag can begin in it.

/// The tags around what a model thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThinkingTags {
    /// Begins a thought.
    pub open: &'static str,
    /// Ends it.
    pub close: &'static str,
}

impl ThinkingTags {
    /// `<think>` and `</think>`: Qwen3, SmolLM3, Hunyuan, DeepSeek-R1 and most others.
    pub const THINK: Self = Self { open: "<think>", close: "</think>" };

    /// Whether `prompt` ends inside a thought, so that the model goes on with it.
    pub fn open_at_end(&self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }
}

/// A part of what a model wrote. Parts that follow each other and are of one kind belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Between the tags, without them.
    Thought(String),
    /// Everything else.
    Answer(String),
}

/// Splits one generated text into thoughts and answer.
#[derive(Clone, Debug)]
pub struct ThinkingSplitter {
    tags: ThinkingTags,
    thinking: bool,
    /// White space is left out: after a tag, until something else comes.
    trimming: bool,
    /// Text that may be the beginning of a tag, or space before one.
    held: String,
}

impl ThinkingSplitter {
    /// A splitter of the text that follows `prompt`.
    pub fn after(prompt: &str, tags: ThinkingTags) -> Self {
        let thinking = tags.open_at_end(prompt);
        Self { tags, thinking, trimming: true, held: String::new() }
    }

    /// Whether the text so far ends inside a thought.
    pub fn thinking(&self) -> bool {
        self.thinking
    }

    /// Takes the next piece of text and appends to `parts` what has become certain.
    ///
    /// White space next to a tag is dropped, and so is that at the beginning of the text. An end of a thought that has
    /// no beginning, and a beginning inside a thought, are text.
    pub fn push(&mut self, text: &str, parts: &mut Vec<Part>) {
        self.held.push_str(text);
        loop {
            let tag = if self.thinking { self.tags.close } else { self.tags.open };
            if let Some(at) = self.held.find(tag) {
                let before = self.held[..at].trim_end().to_owned();
                self.emit(&before, parts);
                self.held.drain(..at + tag.len());
                self.thinking = !self.thinking;
                self.trimming = true;
                continue;
            }
            // All that can become part of a tag, and the space before it, has to wait.
            let partial =
                (1..tag.len()).rev().find(|&len| tag.is_char_boundary(len) && self.held.ends_with(&tag[..len]));
            let certain = self.held[..self.held.len() - partial.unwrap_or(0)].trim_end().len();
            let text: String = self.held.drain(..certain).collect();
            self.emit(&text, parts);
            return;
        }
    }

    /// The end of the text: what was held back is part of it, but for white space at the end of a thought.
    pub fn finish(&mut self, parts: &mut Vec<Part>) {
        let held = std::mem::take(&mut self.held);
        let held = if self.thinking { held.trim_end() } else { &held };
        self.emit(held, parts);
    }

    fn emit(&mut self, text: &str, parts: &mut Vec<Part>) {
        let text = if self.trimming { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        self.trimming = false;
        match (self.thinking, parts.last_mut()) {
            (true, Some(Part::Thought(last))) | (false, Some(Part::Answer(last))) => last.push_str(text),
            (true, _) => parts.push(Part::Thought(text.to_owned())),
            (false, _) => parts.push(Part::Answer(text.to_owned())),
        }
    }
}

/// How the user's wish to think or not reaches the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingSwitch {
    /// The template reads `enable_thinking`.
    Variable,
    /// `/think` or `/no_think` in a message, which the template or the model itself understands.
    Words,
    /// The template knows nothing of it.
    None,
}

impl ThinkingSwitch {
    /// What the text of a chat template understands.
    pub fn of_template(source: &str) -> Self {
        if source.contains("enable_thinking") {
            Self::Variable
        } else if source.contains("/no_think") {
            Self::Words
        } else {
            Self::None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `text` in the pieces that `cuts` (positions in characters) make.
    fn split(prompt: &str, text: &str, cuts: &[usize]) -> Vec<Part> {
        let mut splitter = ThinkingSplitter::after(prompt, ThinkingTags::THINK);
        let mut parts = Vec::new();
        let mut piece = String::new();
        for (i, char) in text.chars().enumerate() {
            if cuts.contains(&i) {
                splitter.push(&piece, &mut parts);
                piece.clear();
            }
            piece.push(char);
        }
        splitter.push(&piece, &mut parts);
        splitter.finish(&mut parts);
        parts
    }

    fn thought(text: &str) -> Part {
        Part::Thought(text.to_owned())
    }

    fn answer(text: &str) -> Part {
        Part::Answer(text.to_owned())
    }

    #[test]
    fn thoughts_are_told_apart() {
        for (prompt, text, expected) in [
            ("", "<think>\nHm.\n</think>\n\nYes. ", vec![thought("Hm."), answer("Yes. ")]),
            ("<think>\n", "Hm.\n</think>\n\nYes.", vec![thought("Hm."), answer("Yes.")]),
            ("<think>\n\n</think>\n\n", "Yes.", vec![answer("Yes.")]),
            ("", "<think>\n\n</think>\n\nYes.", vec![answer("Yes.")]),
            ("", "Yes <b>and</b> a < b <thin", vec![answer("Yes <b>and</b> a < b <thin")]),
            ("", "A <think>b</think> c", vec![answer("A"), thought("b"), answer("c")]),
            ("", "<think>never ended <think> </thi ", vec![thought("never ended <think> </thi")]),
            ("", "no </think> beginning", vec![answer("no </think> beginning")]),
            ("", "<<think>x</think>", vec![answer("<"), thought("x")]),
            ("", "", vec![]),
        ] {
            assert_eq!(split(prompt, text, &[]), expected, "{text}");
        }
    }

    #[test]
    fn text_is_handed_out_as_soon_as_it_is_certain() {
        let mut splitter = ThinkingSplitter::after("", ThinkingTags::THINK);
        let mut parts = Vec::new();
        splitter.push("Yes, a <", &mut parts);
        assert_eq!(parts, [answer("Yes, a")]);
        splitter.push("b", &mut parts);
        assert_eq!(parts, [answer("Yes, a <b")]);
    }

    #[test]
    fn templates_say_which_switch_they_have() {
        assert_eq!(ThinkingSwitch::of_template("{% if enable_thinking %}{% endif %}"), ThinkingSwitch::Variable);
        assert_eq!(ThinkingSwitch::of_template("{% if '/no_think' in system %}{% endif %}"), ThinkingSwitch::Words);
        assert_eq!(ThinkingSwitch::of_template("{{ messages }}"), ThinkingSwitch::None);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            pieces in proptest::collection::vec("(<think>|</think>|<thi|</|nk>|<|>|[ a\\né]{0,3})", 0..12),
            prompt in "(|<think>\n)",
            cuts in proptest::collection::vec(0_usize..60, 0..20),
        ) {
            let text = pieces.concat();
            prop_assert_eq!(split(&prompt, &text, &cuts), split(&prompt, &text, &[]));
            let every: Vec<usize> = (0..text.len()).collect();
            prop_assert_eq!(split(&prompt, &text, &every), split(&prompt, &text, &[]));
        }

        /// Nothing is lost, doubled or moved but tags and white space: the parts are those that cutting the whole
        /// text at its tags gives.
        #[test]
        fn parts_are_the_text_between_the_tags(
            pieces in proptest::collection::vec("(<think>|</think>|<thi|nk>|<|[ a\\né]{0,3})", 0..12),
        ) {
            let text = pieces.concat();
            let mut expected: Vec<Part> = Vec::new();
            let mut rest = text.as_str();
            let mut thinking = false;
            loop {
                let tag = if thinking { "</think>" } else { "<think>" };
                let cut = rest.split_once(tag);
                let piece = cut.map_or(rest, |(before, _)| before);
                let piece = if cut.is_some() || thinking { piece.trim() } else { piece.trim_start() };
                if !piece.is_empty() {
                    match (thinking, expected.last_mut()) {
                        (true, Some(Part::Thought(last))) | (false, Some(Part::Answer(last))) => last.push_str(piece),
                        (true, _) => expected.push(thought(piece)),
                        (false, _) => expected.push(answer(piece)),
                    }
                }
                match cut {
                    Some((_, after)) => rest = after,
                    None => break,
                }
                thinking = !thinking;
            }
            prop_assert_eq!(split("", &text, &[]), expected);
        }
    }
}
