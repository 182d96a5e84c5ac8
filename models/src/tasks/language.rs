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
pub fn guess<'c>(text: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let known: Vec<(&str, Lang)> = candidates.iter().filter_map(|code| Some((*code, detectable(code)?))).collect();
    let allowed = known.iter().map(|(_, lang)| *lang).collect();
    let found = Detector::with_allowlist(allowed).detect(text)?.lang();
    known.iter().find(|(_, lang)| *lang == found).map(|(code, _)| *code)
}

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
    fn unknown_names_stay_as_they_are() {
        assert_eq!(code_of("Deutsch"), "de");
        assert_eq!(code_of(" QUE "), "que");
        assert_eq!(english_name("fr"), "French");
        assert_eq!(english_name("que"), "que");
    }
}
