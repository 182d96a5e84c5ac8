//! Offline translation inside your own program: `cargo run --release -p babil-models --example translate`.

use std::ops::ControlFlow;

use babil_models::tasks::translate::{LanguagePair, TranslateOptions};
use babil_models::{OpenOptions, open_translator};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The bundled model; `model: Some("path/to/opus-mt-en-de".into())` opens another.
    let translator = open_translator(&OpenOptions::default())?;
    let pair = LanguagePair::new("en", "fr");

    // Sentences are translated together; each result is the same as alone.
    let sentences = ["Where is the station?", "I would like a cup of coffee."];
    let options = TranslateOptions::default();
    let translations = translator.translate(&sentences, &pair, &options, &mut |_| ControlFlow::Continue(()))?;
    for (sentence, translation) in sentences.iter().zip(&translations) {
        println!("{sentence} -> {}", translation.hypotheses[0].text);
    }

    // Text as it becomes certain; returning Break cancels between two tokens.
    translator.translate(&["It is raining again."], &pair, &options, &mut |news| {
        print!("{}", news.text);
        ControlFlow::Continue(())
    })?;
    println!();
    Ok(())
}
