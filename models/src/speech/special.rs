//! The tokens that steer a Whisper model, and what its files say of generation.

use std::collections::BTreeMap;

use babil_runtime::{Error, Result, Token};
use serde::Deserialize;

/// What the decoder is asked to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Task {
    /// What was said, in its language.
    #[default]
    Transcribe,
    /// The same in English.
    Translate,
}

/// The languages and tasks of a multilingual model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multilingual {
    /// Code, as in `fr`, and token, in the order of the tokens.
    pub languages: Vec<(String, Token)>,
    /// Asks for [`Task::Transcribe`].
    pub transcribe: Token,
    /// Asks for [`Task::Translate`].
    pub translate: Token,
}

/// Tokens with a meaning of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Ends a text.
    pub end: Token,
    /// Begins one.
    pub start: Token,
    /// Before the text that came before.
    pub previous: Token,
    /// Its probability after `start` is that nobody speaks.
    pub no_speech: Token,
    /// Asks for text without timestamps; the timestamps are the tokens after it.
    pub no_timestamps: Token,
    /// How many timestamps there are.
    pub timestamps: Token,
    /// `None` for models of English alone.
    pub multilingual: Option<Multilingual>,
    /// Never written.
    pub suppressed: Vec<Token>,
    /// Not written first.
    pub not_first: Vec<Token>,
    /// The latest timestamp that a window may begin with.
    pub latest_start: Token,
    /// Layer and head of the cross-attentions that follow the sound; empty where they are not known.
    pub alignment_heads: Vec<[usize; 2]>,
}

/// Seconds from a timestamp to the next.
pub const TIMESTAMP: f64 = 0.02;

/// `generation_config.json` of transformers' Whisper models.
#[derive(Debug, Default, Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<Token>,
    decoder_start_token_id: Option<Token>,
    no_timestamps_token_id: Option<Token>,
    prev_sot_token_id: Option<Token>,
    is_multilingual: Option<bool>,
    #[serde(default)]
    lang_to_id: BTreeMap<String, Token>,
    #[serde(default)]
    task_to_id: BTreeMap<String, Token>,
    #[serde(default)]
    suppress_tokens: Option<Vec<i64>>,
    #[serde(default)]
    begin_suppress_tokens: Option<Vec<i64>>,
    max_initial_timestamp_index: Option<Token>,
    #[serde(default)]
    alignment_heads: Option<Vec<[usize; 2]>>,
}

impl SpecialTokens {
    /// Those of a model with `vocab` tokens whose `generation_config.json` is `json`; `label` names it in errors.
    ///
    /// # Errors
    /// A file that lacks what a model needs, or that has tokens outside the vocabulary.
    pub fn from_generation_config(json: &[u8], label: &str, vocab: usize) -> Result<Self> {
        let bad = |problem: String| Error::bad_file(label, problem);
        let config: GenerationConfig = serde_json::from_slice(json).map_err(|error| bad(error.to_string()))?;
        let need = |key: &str, value: Option<Token>| value.ok_or_else(|| bad(format!("has no {key}")));
        let start = need("decoder_start_token_id", config.decoder_start_token_id)?;
        let no_timestamps = need("no_timestamps_token_id", config.no_timestamps_token_id)?;
        let before = |count: Token| {
            no_timestamps.checked_sub(count).ok_or_else(|| bad(format!("no_timestamps_token_id is {no_timestamps}")))
        };
        let task = |name: &str| need(&format!("task_to_id of {name}"), config.task_to_id.get(name).copied());
        let multilingual = match config.is_multilingual.unwrap_or(!config.lang_to_id.is_empty()) {
            false => None,
            true => {
                let code = |name: &str| name.trim_start_matches("<|").trim_end_matches("|>").to_owned();
                let mut languages: Vec<_> = config.lang_to_id.iter().map(|(name, &id)| (code(name), id)).collect();
                languages.sort_by_key(|&(_, id)| id);
                if languages.is_empty() {
                    return Err(bad("has no languages (lang_to_id) for a model of several".to_owned()));
                }
                Some(Multilingual { languages, transcribe: task("transcribe")?, translate: task("translate")? })
            }
        };
        // -1 stands for a model's own list of what is not speech, which this key replaces.
        let list = |ids: Option<Vec<i64>>| -> Vec<Token> {
            ids.unwrap_or_default().into_iter().filter_map(|id| Token::try_from(id).ok()).collect()
        };
        let special = Self {
            end: need("eos_token_id", config.eos_token_id)?,
            start,
            previous: config.prev_sot_token_id.map_or_else(|| before(2), Ok)?,
            no_speech: before(1)?,
            no_timestamps,
            timestamps: Token::try_from(vocab).unwrap_or(Token::MAX).saturating_sub(no_timestamps + 1),
            multilingual,
            suppressed: list(config.suppress_tokens),
            not_first: list(config.begin_suppress_tokens),
            latest_start: config.max_initial_timestamp_index.unwrap_or(50),
            alignment_heads: config.alignment_heads.unwrap_or_default(),
        };
        special.check(vocab).map_err(bad)?;
        Ok(special)
    }

    /// Those of OpenAI's vocabularies, whose layout follows from the number of tokens: 51864 of English alone, 51865 of
    /// 99 languages, 51866 of 100.
    ///
    /// # Errors
    /// Another number of tokens; the text says so.
    pub fn of_vocabulary(vocab: usize) -> std::result::Result<Self, String> {
        let languages = match vocab {
            51_864 => 0,
            51_865 | 51_866 => vocab - 51_766,
            _ => return Err(format!("{vocab} tokens: Whisper has 51864, 51865 or 51866")),
        };
        let end: Token = if languages == 0 { 50_256 } else { 50_257 };
        // English-only models have the tokens of 99 languages, too.
        let after_languages = end + 2 + languages.max(99) as Token;
        let no_timestamps = after_languages + 5;
        let multilingual = (languages > 0).then(|| Multilingual {
            languages: LANGUAGES[..languages].iter().map(|code| (*code).to_owned()).zip(end + 2..).collect(),
            translate: after_languages,
            transcribe: after_languages + 1,
        });
        let mut suppressed = if languages == 0 { NOT_SPEECH_ENGLISH.to_vec() } else { NOT_SPEECH.to_vec() };
        suppressed.extend([end + 1].into_iter().chain(after_languages..no_timestamps));
        Ok(Self {
            end,
            start: end + 1,
            previous: no_timestamps - 2,
            no_speech: no_timestamps - 1,
            no_timestamps,
            timestamps: vocab as Token - no_timestamps - 1,
            multilingual,
            suppressed,
            not_first: vec![220, end],
            latest_start: 50,
            alignment_heads: Vec::new(),
        })
    }

    fn check(&self, vocab: usize) -> std::result::Result<(), String> {
        let Self { end, start, previous, no_speech, no_timestamps, .. } = *self;
        let tasks = self.multilingual.iter().flat_map(|tokens| {
            let languages = tokens.languages.iter().map(|&(_, id)| id);
            [tokens.transcribe, tokens.translate].into_iter().chain(languages)
        });
        let own = [end, start, previous, no_speech, no_timestamps];
        let all = own.iter().chain(&self.suppressed).chain(&self.not_first).copied().chain(tasks);
        match all.into_iter().find(|&id| id as usize >= vocab) {
            Some(id) => Err(format!("has token {id}, the model has {vocab}")),
            None if self.timestamps == 0 => Err("has no timestamps after no_timestamps_token_id".to_owned()),
            None => Ok(()),
        }
    }

    /// The first timestamp.
    pub fn first_timestamp(&self) -> Token {
        self.no_timestamps + 1
    }

    /// The seconds that a token stands for, if it is a timestamp.
    pub fn seconds(&self, token: Token) -> Option<f64> {
        token.checked_sub(self.first_timestamp()).map(|index| f64::from(index) * TIMESTAMP)
    }

    /// What a window begins with: language and task, where the model knows several, and whether timestamps are wanted.
    ///
    /// # Errors
    /// A language that the model does not know, or a translation that it cannot make.
    pub fn prompt(&self, language: Option<&str>, task: Task, timestamps: bool) -> Result<Vec<Token>> {
        let mut prompt = vec![self.start];
        match &self.multilingual {
            Some(tokens) => {
                let language = language.unwrap_or("en");
                prompt.push(tokens.language(language)?);
                prompt.push(match task {
                    Task::Transcribe => tokens.transcribe,
                    Task::Translate => tokens.translate,
                });
            }
            None if task == Task::Translate => {
                let problem = "translating with a model that knows English alone: it can only transcribe";
                return Err(Error::BadRequest(problem.to_owned()));
            }
            None if language.is_some_and(|language| language != "en") => {
                let language = language.unwrap_or_default();
                let problem = format!("the language `{language}` with a model that knows English alone");
                return Err(Error::BadRequest(problem));
            }
            None => {}
        }
        if !timestamps {
            prompt.push(self.no_timestamps);
        }
        Ok(prompt)
    }
}

impl Multilingual {
    /// The token of a language.
    ///
    /// # Errors
    /// The model does not know it.
    pub fn language(&self, code: &str) -> Result<Token> {
        let found = self.languages.iter().find(|(known, _)| known == code);
        found.map(|&(_, id)| id).ok_or_else(|| {
            let known: Vec<_> = self.languages.iter().map(|(code, _)| code.as_str()).collect();
            Error::BadRequest(format!("the language `{code}`: this model knows {}", known.join(", ")))
        })
    }
}

/// The languages of OpenAI's models in the order of their tokens; `yue` since large-v3.
const LANGUAGES: [&str; 100] = [
    "en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt", "tr", "pl", "ca", "nl", "ar", "sv", "it", "id", "hi", "fi",
    "vi", "he", "uk", "el", "ms", "cs", "ro", "da", "hu", "ta", "no", "th", "ur", "hr", "bg", "lt", "la", "mi", "ml",
    "cy", "sk", "te", "fa", "lv", "bn", "sr", "az", "sl", "kn", "et", "mk", "br", "eu", "is", "hy", "ne", "mn", "bs",
    "kk", "sq", "sw", "gl", "mr", "pa", "si", "km", "sn", "yo", "so", "af", "oc", "ka", "be", "tg", "sd", "gu", "am",
    "yi", "lo", "uz", "fo", "ht", "ps", "tk", "nn", "mt", "sa", "lb", "my", "bo", "tl", "mg", "as", "tt", "haw", "ln",
    "ha", "ba", "jw", "su", "yue",
];

/// Tokens of signs and notes that nobody speaks, such as brackets and musical notes: OpenAI's `non_speech_tokens` of the
/// English vocabulary.
const NOT_SPEECH_ENGLISH: [Token; 84] = [
    1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 357, 366, 438, 532, 685,
    705, 796, 930, 1058, 1220, 1267, 1279, 1303, 1343, 1377, 1391, 1635, 1782, 1875, 2162, 2361, 2488, 3467, 4008,
    4211, 4600, 4808, 5299, 5855, 6329, 7203, 9609, 9959, 10_563, 10_786, 11_420, 11_709, 11_907, 13_163, 13_697,
    13_700, 14_808, 15_306, 16_410, 16_791, 17_992, 19_203, 19_510, 20_724, 22_305, 22_935, 27_007, 30_109, 30_420,
    33_409, 34_949, 40_283, 40_493, 40_549, 47_282, 49_146,
];

/// The same of the multilingual vocabulary.
const NOT_SPEECH: [Token; 82] = [
    1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 359, 503, 522, 542, 873,
    893, 902, 918, 922, 931, 1350, 1853, 1982, 2460, 2627, 3246, 3253, 3268, 3536, 3846, 3961, 4183, 4667, 6585, 6647,
    7273, 9061, 9383, 10_428, 10_929, 11_938, 12_033, 12_331, 12_562, 13_793, 14_157, 14_635, 15_265, 15_618, 16_553,
    16_604, 18_362, 18_956, 20_075, 21_675, 22_520, 26_130, 26_161, 26_435, 28_279, 29_464, 31_650, 32_302, 32_470,
    36_865, 42_863, 47_425, 49_870, 50_254,
];
