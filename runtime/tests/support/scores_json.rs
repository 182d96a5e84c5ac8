//! The vocabulary of a `tokenizer.json` from a SentencePiece vocabulary. Tests of other crates include this file too.

use std::collections::BTreeMap;

use babil_runtime::weights::gguf::{Array, Metadata};
use serde_json::{Value, json};

/// Puts the tokens of `metadata` into `json` as the converter of the `tokenizers` library does: every way to join two tokens
/// to a third is a merge, by the third's score.
pub(crate) fn fill(json: &mut Value, metadata: &Metadata) {
    let array = |key: &str| metadata.expect::<Array<'_>>(&format!("tokenizer.ggml.{key}")).unwrap();
    let tokens: Vec<String> =
        array("tokens").strings().unwrap().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
    let (kinds, scores) = (array("token_type").i32s().unwrap(), array("scores").f32s().unwrap());
    let added = |(id, kind): (usize, i32)| {
        let (content, special) = (&tokens[id], kind != 4);
        let whole = matches!(kind, 2..=4);
        whole.then(|| {
            json!({"id": id, "content": content, "special": special, "normalized": false, "single_word": false,
                "lstrip": false, "rstrip": false})
        })
    };
    json["added_tokens"] = kinds.enumerate().filter_map(added).collect();
    json["model"]["vocab"] = tokens.iter().enumerate().map(|(id, text)| (text.clone(), json!(id))).collect();
    let ids: BTreeMap<&str, usize> = tokens.iter().enumerate().map(|(id, text)| (text.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        for (middle, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(middle);
            if let (Some(left_id), Some(right_id)) = (ids.get(left), ids.get(right)) {
                merges.push((score, *left_id, *right_id, json!([left, right])));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    json["model"]["merges"] = merges.into_iter().map(|merge| merge.3).collect();
}
