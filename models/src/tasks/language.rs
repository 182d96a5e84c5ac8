//! Names of languages, and a guess of the language that a text is written in.

use whatlang::{Detector, Lang};

/// A language that people can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language {
    /// ISO 639-1 code, the one used in a [`LanguagePair`](super::translate::LanguagePair).
    pub code: &'static str,
    /// ISO 639-3 code.
    pub code3: &'static str,
    /// English name.
    pub english: &'static str,
    /// The language's own name.
    pub native: &'static str,
}

const fn language(code: &'static str, code3: &'static str, english: &'static str, native: &'static str) -> Language {
    Language { code, code3, english, native }
}

/// The languages known by name, in the order of their codes.
pub const LANGUAGES: &[Language] = &[
    language("af", "afr", "Afrikaans", "Afrikaans"),
    language("ar", "ara", "Arabic", "العربية"),
    language("az", "aze", "Azerbaijani", "Azərbaycan"),
    language("be", "bel", "Belarusian", "Беларуская"),
    language("bg", "bul", "Bulgarian", "Български"),
    language("bn", "ben", "Bengali", "বাংলা"),
    language("ca", "cat", "Catalan", "Català"),
    language("cs", "ces", "Czech", "Čeština"),
    language("cy", "cym", "Welsh", "Cymraeg"),
    language("da", "dan", "Danish", "Dansk"),
    language("de", "deu", "German", "Deutsch"),
    language("el", "ell", "Greek", "Ελληνικά"),
    language("en", "eng", "English", "English"),
    language("eo", "epo", "Esperanto", "Esperanto"),
    language("es", "spa", "Spanish", "Español"),
    language("et", "est", "Estonian", "Eesti"),
    language("eu", "eus", "Basque", "Euskara"),
    language("fa", "pes", "Persian", "فارسی"),
    language("fi", "fin", "Finnish", "Suomi"),
    language("fr", "fra", "French", "Français"),
    language("ga", "gle", "Irish", "Gaeilge"),
    language("gl", "glg", "Galician", "Galego"),
    language("gu", "guj", "Gujarati", "ગુજરાતી"),
    language("he", "heb", "Hebrew", "עברית"),
    language("hi", "hin", "Hindi", "हिन्दी"),
    language("hr", "hrv", "Croatian", "Hrvatski"),
    language("hu", "hun", "Hungarian", "Magyar"),
    language("hy", "hye", "Armenian", "Հայերեն"),
    language("id", "ind", "Indonesian", "Bahasa Indonesia"),
    language("is", "isl", "Icelandic", "Íslenska"),
    language("it", "ita", "Italian", "Italiano"),
    language("ja", "jpn", "Japanese", "日本語"),
    language("ka", "kat", "Georgian", "ქართული"),
    language("ko", "kor", "Korean", "한국어"),
    language("la", "lat", "Latin", "Latina"),
    language("lt", "lit", "Lithuanian", "Lietuvių"),
    language("lv", "lav", "Latvian", "Latviešu"),
    language("mk", "mkd", "Macedonian", "Македонски"),
    language("mr", "mar", "Marathi", "मराठी"),
    language("ms", "msa", "Malay", "Bahasa Melayu"),
    language("mt", "mlt", "Maltese", "Malti"),
    language("nb", "nob", "Norwegian", "Norsk"),
    language("nl", "nld", "Dutch", "Nederlands"),
    language("pl", "pol", "Polish", "Polski"),
    language("pt", "por", "Portuguese", "Português"),
    language("ro", "ron", "Romanian", "Română"),
    language("ru", "rus", "Russian", "Русский"),
    language("sk", "slk", "Slovak", "Slovenčina"),
    language("sl", "slv", "Slovenian", "Slovenščina"),
    language("sq", "sqi", "Albanian", "Shqip"),
    language("sr", "srp", "Serbian", "Српски"),
    language("sv", "swe", "Swedish", "Svenska"),
    language("sw", "swa", "Swahili", "Kiswahili"),
    language("ta", "tam", "Tamil", "தமிழ்"),
    language("te", "tel", "Telugu", "తెలుగు"),
    language("th", "tha", "Thai", "ไทย"),
    language("tl", "tgl", "Tagalog", "Tagalog"),
    language("tr", "tur", "Turkish", "Türkçe"),
    language("uk", "ukr", "Ukrainian", "Українська"),
    language("ur", "urd", "Urdu", "اردو"),
    language("vi", "vie", "Vietnamese", "Tiếng Việt"),
    language("zh", "zho", "Chinese", "中文"),
];

/// Other spellings in use: bibliographic and macro-language codes, and names without their accents.
const ALIASES: &[(&str, &str)] = &[
    ("castellano", "es"),
    ("cestina", "cs"),
    ("cmn", "zh"),
    ("cze", "cs"),
    ("dut", "nl"),
    ("espanol", "es"),
    ("fas", "fa"),
    ("francais", "fr"),
    ("fre", "fr"),
    ("ger", "de"),
    ("gre", "el"),
    ("mandarin", "zh"),
    ("no", "nb"),
    ("nor", "nb"),
    ("per", "fa"),
    ("portugues", "pt"),
    ("romana", "ro"),
    ("rum", "ro"),
    ("slo", "sk"),
    ("turkce", "tr"),
    ("chi", "zh"),
];

impl Language {
    /// The language that `name` means: an ISO 639 code of two or three letters, an English name or the language's own
    /// name, in upper or lower case.
    ///
    /// ```
    /// use babil_models::tasks::language::Language;
    /// for name in ["fr", "fra", "fre", "French", "français", "FRANCAIS"] {
    ///     assert_eq!(Language::parse(name).unwrap().code, "fr");
    /// }
    /// assert_eq!(Language::parse("elvish"), None);
    /// ```
    pub fn parse(name: &str) -> Option<&'static Self> {
        let name = name.trim().to_lowercase();
        let code = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, code)| *code);
        let wanted = code.unwrap_or(&name);
        LANGUAGES.iter().find(|language| {
            language.code == wanted
                || language.code3 == wanted
                || language.english.to_lowercase() == wanted
                || language.native.to_lowercase() == wanted
        })
    }
}

/// The code that a model would use for the language that `name` means; an unknown name is taken as it is (in lower
/// case), for models that know languages this table does not.
pub fn code_of(name: &str) -> String {
    match Language::parse(name) {
        Some(language) => language.code.to_owned(),
        None => name.trim().to_lowercase(),
    }
}

/// The English name of the language with this code, or the code itself when it has none here.
pub fn english_name(code: &str) -> &str {
    LANGUAGES.iter().find(|language| language.code == code).map_or(code, |language| language.english)
}

/// Which of the languages `candidates` (codes) `text` is most likely written in; `None` when nothing tells, such as
/// for a text without letters or without any candidate of its script.
///
/// A few words have too few letter sequences for statistics, so in a short text common words decide first.
pub fn guess<'c>(text: &str, candidates: &[&'c str]) -> Option<&'c str> {
    const SHORT: usize = 120;
    if text.len() <= SHORT
        && let Some(code) = guess_by_words(text, candidates)
    {
        return Some(code);
    }
    let known: Vec<(&str, Lang)> = candidates.iter().filter_map(|code| Some((*code, detectable(code)?))).collect();
    let allowed = known.iter().map(|(_, lang)| *lang).collect();
    let found = Detector::with_allowlist(allowed).detect(text)?.lang();
    known.iter().find(|(_, lang)| *lang == found).map(|(code, _)| *code)
}

/// The one candidate that more of the words in `text` are common in than in any other.
fn guess_by_words<'c>(text: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    let votes = |code: &str| {
        let common = COMMON_WORDS.iter().find(|(language, _)| *language == code).map_or("", |(_, words)| words);
        words.iter().filter(|word| common.split(' ').any(|other| other == **word)).count()
    };
    let mut counted: Vec<(usize, &str)> = candidates.iter().map(|code| (votes(code), *code)).collect();
    counted.sort_by_key(|(votes, _)| std::cmp::Reverse(*votes));
    match counted[..] {
        [(votes, code), (second, _), ..] if votes > second => Some(code),
        _ => None,
    }
}

/// Words that are frequent in short texts.
const COMMON_WORDS: &[(&str, &str)] = &[
    (
        "en",
        "the a an and or is are was i you he she it we they my your his her this that what where when who why how not do \
         does don to of in for with have has hello hi yes no please thanks thank good morning night luck sorry can will",
    ),
    (
        "fr",
        "le la les un une des et ou où est sont était je tu il elle on nous vous ils mon ton son ma sa ce cette que qui \
         quoi quand pourquoi comment ne pas de du en pour avec ai as a bonjour salut oui non merci bonne nuit beaucoup c j \
         l d s au revoir",
    ),
    (
        "de",
        "der die das ein eine und oder ist sind war ich du er sie es wir ihr mein dein nicht kein was wo wann wer warum \
         wie zu von in für mit habe hat hallo ja nein bitte danke guten morgen tag nacht schön",
    ),
    (
        "es",
        "el la los las un una y o es son está estoy yo tú él ella nosotros mi tu su que qué dónde cuándo quién cómo no de \
         en para por con hola sí gracias buenos buenas días noches mucho favor",
    ),
    (
        "it",
        "il lo la gli le un una e o è sono era io tu lui lei noi voi mio tuo che cosa dove quando chi perché come non di \
         in per con ho ha ciao sì no grazie buongiorno buona notte molto prego",
    ),
    (
        "pt",
        "o a os as um uma e ou é são está eu tu ele ela nós meu seu que onde quando quem como não de em para por com olá \
         sim obrigado obrigada bom boa dia noite muito favor",
    ),
    (
        "nl",
        "de het een en of is zijn was ik jij je hij zij wij mijn niet geen wat waar wanneer wie waarom hoe van in voor met \
         heb heeft hallo ja nee alsjeblieft dank bedankt goede morgen nacht",
    ),
];

/// The detector's name of a language, if it knows it.
fn detectable(code: &str) -> Option<Lang> {
    let code3 = match code {
        "zh" => "cmn",
        _ => Language::parse(code)?.code3,
    };
    Lang::from_code(code3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_every_alias_leads_somewhere() {
        for (i, language) in LANGUAGES.iter().enumerate() {
            assert!(LANGUAGES[..i].iter().all(|other| other.code < language.code), "{}", language.code);
            assert_eq!(Language::parse(language.code), Some(language));
            assert_eq!(Language::parse(language.code3), Some(language));
            assert_eq!(Language::parse(language.native), Some(language));
        }
        for (alias, code) in ALIASES {
            assert_eq!(Language::parse(alias).map(|language| language.code), Some(*code), "{alias}");
        }
    }

    #[test]
    fn guesses_among_the_candidates_only() {
        let french = "Où se trouve la gare, s'il vous plaît ?";
        assert_eq!(guess(french, &["en", "fr", "de"]), Some("fr"));
        assert_ne!(guess(french, &["en", "de"]), Some("fr"));
        assert_eq!(guess("12345", &["en", "fr"]), None);
        assert_eq!(guess("", &["en", "fr"]), None);
        assert_eq!(guess("これは日本語です", &["en", "ja"]), Some("ja"));
    }

    #[test]
    fn common_words_tell_short_texts_apart() {
        for (text, code) in [
            ("Hello", "en"),
            ("Thank you", "en"),
            ("Yes", "en"),
            ("Where is it?", "en"),
            ("Bonjour", "fr"),
            ("Merci beaucoup", "fr"),
            ("Où ?", "fr"),
            ("C'est la vie.", "fr"),
            ("Guten Tag", "de"),
            ("Danke", "de"),
        ] {
            assert_eq!(guess(text, &["en", "fr", "de"]), Some(code), "{text}");
        }
    }

    #[test]
    fn unknown_names_stay_as_they_are() {
        assert_eq!(code_of("Deutsch"), "de");
        assert_eq!(code_of(" QUE "), "que");
        assert_eq!(english_name("fr"), "French");
        assert_eq!(english_name("que"), "que");
    }
}
