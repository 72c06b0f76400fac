//! What a model is called: `general.name` and its parts, by the rules of llama.cpp's converter, so that a file says the
//! same whoever made it.

use phi_gguf::Value;

/// The parts of a name such as `microsoft/Phi-3.5-mini-instruct`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Title {
    pub(crate) name: Option<String>,
    pub(crate) organization: Option<String>,
    pub(crate) basename: Option<String>,
    pub(crate) size_label: Option<String>,
    pub(crate) finetune: Option<String>,
    pub(crate) version: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Kind {
    basename: bool,
    size: bool,
    finetune: bool,
    version: bool,
    dtype: bool,
}

impl Kind {
    fn none(self) -> bool {
        self == Kind::default()
    }

    fn count(self) -> usize {
        [self.basename, self.size, self.finetune, self.version, self.dtype].iter().filter(|&&set| set).count()
    }
}

impl Title {
    /// What can be told from an id. `n_params` tells a size from a context length.
    pub(crate) fn of(id: &str, n_params: u64) -> Title {
        if id.contains(' ') {
            return Title { name: Some(to_title(id)), ..Title::default() };
        }
        let (organization, full) = match id.split_once('/') {
            Some((organization, full)) => (Some(organization).filter(|o| !o.starts_with('.')), full),
            None => (None, id),
        };
        let mut parts: Vec<String> = full.split('-').filter(|p| !p.is_empty()).map(String::from).collect();
        let mut kinds = vec![Kind::default(); parts.len()];
        for (i, (part, kind)) in parts.iter_mut().zip(&mut kinds).enumerate() {
            let lower = part.to_lowercase();
            if is_version(&lower) {
                kind.version = true;
            } else if is_dtype(&lower) {
                kind.dtype = true;
                *part = part.to_uppercase();
            } else if i > 0 && is_size(&lower) {
                *part = size_part(part, n_params, kind);
            } else if i > 0 && ["chat", "instruct", "vision", "lora"].contains(&lower.as_str()) {
                kind.finetune = true;
            }
        }
        // A word is no size when a number is there.
        let has_number = |part: &str| part.contains(|c: char| c.is_ascii_digit());
        if parts.iter().zip(&kinds).any(|(part, kind)| kind.size && has_number(part)) {
            let words = parts.iter().zip(&mut kinds).filter(|(part, _)| part.chars().all(char::is_alphabetic));
            words.for_each(|(_, kind)| kind.size = false);
        }
        let mut at_start = true;
        for (part, kind) in parts.iter().zip(&mut kinds) {
            let is_word = kind.none() && part.starts_with(char::is_alphabetic);
            if at_start && (is_word || kind.version) {
                kind.basename = true;
            } else {
                at_start = false;
                kind.finetune |= kind.none();
            }
        }
        for kind in kinds.iter_mut().rev() {
            if !(kind.basename && kind.count() > 1) {
                break;
            }
            kind.basename = false;
        }
        let join = |of: fn(&Kind) -> bool| {
            let chosen = parts.iter().zip(&kinds).filter(|(_, kind)| of(kind)).map(|(part, _)| part.as_str());
            Some(chosen.collect::<Vec<_>>().join("-")).filter(|text| !text.is_empty())
        };
        let (size_label, finetune) = (join(|k| k.size), join(|k| k.finetune));
        let version = join(|k| k.version && !k.basename);
        // Too ambiguous when nothing else was recognised.
        let clear = size_label.is_some() || finetune.is_some() || version.is_some();
        Title {
            name: Some(to_title(full)),
            organization: organization.map(to_title),
            basename: join(|k| k.basename).filter(|_| clear),
            size_label,
            finetune,
            version,
        }
    }

    /// What is missing here, from another source.
    pub(crate) fn or(self, other: Title) -> Title {
        Title {
            name: self.name.or(other.name),
            organization: self.organization.or(other.organization),
            basename: self.basename.or(other.basename),
            size_label: self.size_label.or(other.size_label),
            finetune: self.finetune.or(other.finetune),
            version: self.version.or(other.version),
        }
    }

    /// The `general.*` keys, in llama.cpp's order.
    pub(crate) fn keys(self) -> impl Iterator<Item = (String, Value)> {
        let keys = [
            ("general.name", self.name),
            ("general.version", self.version),
            ("general.organization", self.organization),
            ("general.finetune", self.finetune),
            ("general.basename", self.basename),
            ("general.size_label", self.size_label),
        ];
        keys.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?.into())))
    }
}

/// A count of parameters in two digits: `3.8B`, `125K`.
pub(crate) fn size_label(n_params: u64) -> String {
    let (scaled, unit) = match n_params as f64 {
        n if n > 1e12 => (n * 1e-12, "T"),
        n if n > 1e9 => (n * 1e-9, "B"),
        n if n > 1e6 => (n * 1e-6, "M"),
        n => (n * 1e-3, "K"),
    };
    let whole = format!("{}", scaled.round_ties_even());
    let decimals = 2_usize.saturating_sub(whole.trim_start_matches('0').len());
    format!("{scaled:.decimals$}{unit}")
}

/// `phi-3.5-mini` to `Phi 3.5 Mini`: dashes become spaces, words in small letters get a capital.
fn to_title(id: &str) -> String {
    let id = id.replace('-', " ");
    let words = id.split_whitespace().map(|word| {
        let lower = word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase);
        let version = word.strip_prefix('v').is_some_and(is_dotted) || word.starts_with(|c: char| c.is_ascii_digit());
        if !lower || version {
            return word.to_string();
        }
        let mut capital = true;
        word.chars()
            .flat_map(|c| {
                let shown: Vec<char> = if capital { c.to_uppercase().collect() } else { vec![c] };
                capital = !c.is_alphabetic();
                shown
            })
            .collect()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `12`, `1.5`, `0.1.2`
fn is_dotted(text: &str) -> bool {
    text.split('.').all(is_digits)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `v2`, `iter3`, `3.5`
fn is_version(lower: &str) -> bool {
    is_dotted(lower.strip_prefix("iter").or(lower.strip_prefix('v')).unwrap_or(lower))
}

/// `q4_k_m`, `iq2_xs`, `f16`, `bf16`, `fp32`
fn is_dtype(lower: &str) -> bool {
    let float = lower.strip_prefix('b').unwrap_or(lower).strip_prefix('f');
    if float.is_some_and(|rest| ["16", "32"].contains(&rest.strip_prefix('p').unwrap_or(rest))) {
        return true;
    }
    let Some(rest) = lower.strip_prefix('i').unwrap_or(lower).strip_prefix('q') else { return false };
    let mut parts = rest.split('_');
    let is_one = |part: &str| part.chars().count() == 1;
    parts.next().is_some_and(|digit| is_one(digit) && is_digits(digit)) && parts.all(is_one)
}

/// `7b`, `3.8b`, `128k`, `8x7b`, `a16e`-like, `mini`
fn is_size(lower: &str) -> bool {
    if ["small", "mini", "medium", "large", "xl", "xxl"].contains(&lower) {
        return true;
    }
    let number = match lower.split_once('x') {
        Some((experts, number)) if is_digits(experts) => number,
        _ => lower.strip_prefix('a').unwrap_or(lower),
    };
    let number = number
        .strip_suffix(|c: char| c.is_ascii_digit())
        .filter(|n| n.ends_with(['k', 'm', 'b', 't']))
        .unwrap_or(number);
    let Some(number) = number.strip_suffix(['k', 'm', 'b', 't']) else { return false };
    let mut halves = number.split(['.', '_']);
    halves.next().is_some_and(is_digits) && halves.next().is_none_or(is_digits) && halves.next().is_none()
}

/// A size as it is shown, or a context length, which is a kind of fine-tune.
fn size_part(part: &str, n_params: u64, kind: &mut Kind) -> String {
    let mut chars: Vec<char> = part.replace('_', ".").chars().collect();
    // `7b1` is 7.1b.
    if let [.., unit, digit] = chars[..]
        && digit.is_ascii_digit()
    {
        chars.truncate(chars.len() - 2);
        chars.extend(['.', digit, unit]);
    }
    let n = chars.len();
    let after_digit = n > 1 && chars[n - 2].is_ascii_digit();
    if after_digit && "kmbt".contains(chars[n - 1]) {
        chars[n - 1] = chars[n - 1].to_ascii_uppercase();
    }
    let power = " KMBT".find(chars[n - 1]).filter(|_| after_digit);
    let number = chars[..n - 1].iter().collect::<String>().parse::<f64>();
    if let (Some(power), Ok(number)) = (power, number) {
        let label = number * 1000_f64.powi(power as i32);
        if n_params > 0 && (label - n_params as f64).abs() > (7 * n_params / 8) as f64 {
            kind.finetune = true;
            chars[n - 1] = chars[n - 1].to_ascii_lowercase();
        }
    }
    kind.size = kind.none();
    chars.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_llama_cpp() {
        let parts = |id: &str, n| {
            let t = Title::of(id, n);
            [t.name, t.basename, t.size_label, t.finetune, t.version].map(Option::unwrap_or_default)
        };
        assert_eq!(parts("phi3-base", 125_376), ["Phi3 Base", "", "", "", ""]);
        // Made with gguf-py's `Metadata.get_model_id_components`.
        let n = 3_821_079_552;
        assert_eq!(parts("Phi-3.5-mini-instruct", n), ["Phi 3.5 Mini Instruct", "Phi-3.5", "mini", "instruct", ""]);
        assert_eq!(parts("Phi-3-mini-4k-instruct", n), ["Phi 3 Mini 4k Instruct", "Phi-3", "mini", "4k-instruct", ""]);
        assert_eq!(parts("microsoft/phi-4", n), ["Phi 4", "phi", "", "", "4"]);
        assert_eq!(Title::of("microsoft/phi-4", n).organization.unwrap(), "Microsoft");
        assert_eq!(parts("My-Model-3.8B-v2-Q4_K_M", n), ["My Model 3.8B v2 Q4_K_M", "My-Model", "3.8B", "", "v2"]);
    }

    #[test]
    fn sizes_have_two_digits() {
        let labels: Vec<_> = [3_821_079_552, 125_376, 14_659_507_200, 1_000_001, 950].map(size_label).into();
        assert_eq!(labels, ["3.8B", "125K", "15B", "1.0M", "1.0K"]);
    }
}
