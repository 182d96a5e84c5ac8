//! Lists of numbers as llama-bench takes them: `1,2,4`, `0-4096+1024`, `128-1024*2`.

use std::str::FromStr;

/// Numbers of one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List(Vec<usize>);

/// More than anybody measures.
const MOST: usize = 1000;

impl FromStr for List {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = Vec::new();
        for part in text.split(',') {
            range(part.trim(), &mut numbers)?;
            if numbers.len() > MOST {
                return Err(format!("`{part}`: more than {MOST} numbers"));
            }
        }
        Ok(Self(numbers))
    }
}

/// Appends the numbers of `first`, `first-last`, `first-last+step` or `first-last*factor`.
fn range(text: &str, numbers: &mut Vec<usize>) -> Result<(), String> {
    let bad = || format!("`{text}` is no number or range, such as 512, 1-4, 0-4096+1024 or 128-1024*2");
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number <= 1 << 30).ok_or_else(bad);
    let Some((first, rest)) = text.split_once('-') else {
        numbers.push(number(text)?);
        return Ok(());
    };
    let at = rest.find(['+', '*']).unwrap_or(rest.len());
    let (last, step) = rest.split_at(at);
    let (first, last) = (number(first)?, number(last)?);
    let next: Box<dyn Fn(usize) -> usize> = match step.split_at_checked(1) {
        None => Box::new(|at| at + 1),
        Some(("+", step)) => {
            let step = number(step)?;
            Box::new(move |at| at + step)
        }
        Some((_, factor)) => {
            let factor = number(factor)?;
            Box::new(move |at| at * factor)
        }
    };
    let mut at = first;
    while at <= last && numbers.len() <= MOST {
        numbers.push(at);
        let after = next(at);
        // A step of nothing, or a product that does not grow.
        if after <= at {
            return Err(bad());
        }
        at = after;
    }
    if first > last { Err(bad()) } else { Ok(()) }
}

/// The numbers of all `lists`, or `otherwise` if there are none; each once.
pub(crate) fn numbers(lists: &[List], otherwise: &[usize]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    let all = lists.iter().flat_map(|list| list.0.iter().copied());
    for number in all {
        if !found.contains(&number) {
            found.push(number);
        }
    }
    if lists.is_empty() { otherwise.to_vec() } else { found }
}

/// A prompt and what is generated after it: `512,128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) prompt: usize,
    pub(crate) generate: usize,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<usize>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some([prompt, generate]) if *prompt > 0 && *generate > 0 && prompt.max(generate) <= &(1 << 30) => {
                Ok(Self { prompt: *prompt, generate: *generate })
            }
            _ => Err(format!("`{text}` is no pair of tokens to read and to generate, such as 512,128")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Vec<usize>, String> {
        text.parse::<List>().map(|list| list.0)
    }

    #[test]
    fn lists_are_those_of_llama_bench() {
        assert_eq!(list("512").unwrap(), [512]);
        assert_eq!(list("1,2, 4").unwrap(), [1, 2, 4]);
        assert_eq!(list("1-4").unwrap(), [1, 2, 3, 4]);
        assert_eq!(list("0-4096+1024").unwrap(), [0, 1024, 2048, 3072, 4096]);
        assert_eq!(list("128-1024*2,7").unwrap(), [128, 256, 512, 1024, 7]);
        assert_eq!(numbers(&["1,2".parse().unwrap(), "2-3".parse().unwrap()], &[9]), [1, 2, 3]);
        assert_eq!(numbers(&[], &[9]), [9]);
        assert_eq!("512,128".parse(), Ok(Pair { prompt: 512, generate: 128 }));
    }

    #[test]
    fn what_has_no_end_or_no_number_is_refused() {
        for text in ["", "a", "1-", "-4", "4-1", "1-4+0", "0-4*2", "1-4*1", "1-9999999999", "1--4", "0-5000", "1,,2"] {
            assert!(list(text).is_err(), "{text}");
        }
        for text in ["512", "0,1", "1,0", "1,2,3", "a,b"] {
            assert!(text.parse::<Pair>().is_err(), "{text}");
        }
    }
}
