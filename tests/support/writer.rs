//! Writer of single packages in the shape of the real catalog's.

use std::collections::HashSet;

use catalog_proxy::seller::Seller;

use super::Package;
use super::json::{Json, escaped_len};
use super::random::{Language, Random};
use super::words;

/// Size in bytes below which an element gets no optional members.
const LEAN: usize = 1_300;

/// Size of the members behind the changelog, in bytes.
const TAIL: usize = 230;

const CATEGORIES: &[&str] = &["cms", "security", "backup", "mail", "seo-speed", "dns", "server-tools"];

/// Writes packages one after the other.
pub struct Writer {
    pub json: Json,
    random: Random,
    english: Language,
    others: Vec<(&'static str, Language)>,
    codes: HashSet<String>,
    /// Number of the catalog's codes that have been used.
    known: usize,
}

impl Writer {
    pub fn new(mut random: Random) -> Self {
        let mut language = |words, space, stop| Language::new(&mut random, words, space, stop);
        let english = language(words::ENGLISH, " ", ".");
        let others = vec![
            ("de-DE", language(words::GERMAN, " ", ".")),
            ("ja-JP", language(words::JAPANESE, "", "。")),
            ("fr-FR", language(words::FRENCH, " ", ".")),
            ("uk-UA", language(words::UKRAINIAN, " ", ".")),
            ("es-ES", language(words::SPANISH, " ", ".")),
            ("el-GR", language(words::GREEK, " ", ".")),
        ];
        Self { json: Json::default(), random, english, others, codes: HashSet::new(), known: 0 }
    }

    /// Writes a package of about `size` bytes.
    pub fn package(&mut self, seller: Seller, size: usize) -> Package {
        let code = self.code(seller);
        let name = title(&code);
        let lean = size < LEAN;
        let vendor = match seller {
            Seller::Plesk if self.random.chance(800) => "Plesk".to_owned(),
            _ => format!("{} {}", title(&self.rare()), title(&self.rare())),
        };
        let host = vendor.to_ascii_lowercase().replace([' ', '/', '.'], "-");
        let topic = self.english.topic(&mut self.random, &name);
        let foreign = self.random.chance(80).then(|| self.random.below(self.others.len()));
        let files = format!("https://ext.plesk.example/files/{}", self.random.uuid());

        self.json.separate();
        let start = self.json.text.len();
        self.json.open('{');
        self.json.member("uuid").string(&self.random.uuid());
        self.json.member("code").string(&code);
        self.json.member("name").string(&name);
        let short = self.sentence(&topic, foreign);
        self.json.member("short_description").string(&short);
        self.description(&topic, foreign, size);
        self.json.member("vendor").string(&vendor);
        self.json.member("categories").open('[');
        for _ in 0..=self.random.below(2) {
            self.json.string(self.random.pick(CATEGORIES));
        }
        self.json.close(']');
        if !lean {
            self.json.member("icon_url").string(&format!("{files}/icon_{}.svg", self.random.hex()));
        }
        self.buy_url(seller, &code, &host);
        if !lean {
            let rating = 10 + self.random.below(41);
            self.json.member("rating").raw(format!("{}.{}", rating / 10, rating % 10).trim_end_matches(".0"));
        }
        let release = Release::new(&mut self.random);
        self.latest_release(&release, seller, &code, &files, lean);
        self.screenshots(&topic, &files, if lean { 0 } else { 2 + size / 4_000 });
        let translated = !lean && self.random.chance(200);
        let end = start + if translated { size * 3 / 4 } else { size.saturating_sub(TAIL) };
        self.changelog(release, &topic, foreign, end);
        self.json.member("tags").open('[');
        for _ in 0..1 + self.random.below(4) {
            let tag = self.rare();
            self.json.string(&tag);
        }
        self.json.close(']');
        if translated {
            self.translations(size / 4);
        }
        self.json.close('}');
        Package { span: start..self.json.text.len(), code, seller }
    }

    /// Returns a code that no other package has.
    fn code(&mut self, seller: Seller) -> String {
        if seller == Seller::Plesk
            && let Some(code) = words::CODES.get(self.known)
        {
            self.known += 1;
            return (*code).to_owned();
        }
        loop {
            let mut code = format!("{}-{}", self.rare(), self.rare());
            if self.random.chance(200) {
                code = format!("{code}-{}", 1 + self.random.below(365));
            }
            code = code.to_ascii_lowercase().replace(['/', '.', ':', '_'], "");
            if !words::CODES.contains(&&*code) && self.codes.insert(code.clone()) {
                return code;
            }
        }
    }

    /// Returns the value of `buy_url`, in one of the ways in which the real catalog writes it.
    fn buy_url(&mut self, seller: Seller, code: &str, host: &str) {
        let link = match (seller, self.random.below(10)) {
            (Seller::Plesk, _) => format!("https://go.plesk.com/buy-plesk-ext/{code}"),
            (Seller::Free, 0..5) => {
                self.json.member("buy_url").raw("null");
                return;
            }
            (Seller::Free, 5..8) => String::new(),
            (Seller::Free, _) => return,
            (Seller::Vendor, 0) => format!("https://{host}.example/shop?product={code}&from=go.plesk.com"),
            (Seller::Vendor, 1) => format!("https://{host}.example/go.plesk.com/buy-plesk-ext/{code}"),
            (Seller::Vendor, _) => format!("https://shop.{host}.example/plesk/{code}?utm_source=plesk"),
        };
        self.json.member("buy_url").string(&link);
    }

    fn latest_release(&mut self, release: &Release, seller: Seller, code: &str, files: &str, lean: bool) {
        self.json.member("latest_release").open('{');
        self.json.member("version").string(&release.version());
        self.json.member("release").raw(&(1000 + self.random.below(9000)).to_string());
        self.json.member("date").string(&release.date());
        if !lean {
            self.json.member("download_url").string(&format!("{files}/{code}-{}.zip", release.version()));
            self.json.member("size").raw(&(10_000 + self.random.below(90_000_000)).to_string());
            self.json.member("md5").string(&self.random.md5());
            self.json.member("requirements").open('{');
            self.json
                .member("plesk_min_version")
                .string(self.random.pick(&["17.8.11", "18.0.40", "18.0.52"]));
            self.json.member("plesk_max_version").raw("null");
            self.json.member("platforms").open('[').string("unix");
            if self.random.chance(300) {
                self.json.string("windows");
            }
            self.json.close(']').close('}');
        }
        // It does not count, and says the opposite of the one that does.
        if self.random.chance(100) {
            let link = if seller == Seller::Plesk { "" } else { "https://go.plesk.com/buy-plesk-ext/docker" };
            self.json.member("code").string("docker");
            self.json.member("buy_url").string(link);
        }
        self.json.close('}');
    }

    fn screenshots(&mut self, topic: &[String], files: &str, most: usize) {
        self.json.member("screenshots").open('[');
        for number in 1..=self.random.below(most.min(8) + 1) {
            let caption = self.sentence(topic, None);
            self.json.open('{');
            self.json.member("title").string(caption.trim_end_matches('.'));
            self.json.member("url").string(&format!("{files}/screen_{number}_{}.png", self.random.hex()));
            self.json.member("width").raw("1280").member("height").raw("800");
            self.json.close('}');
        }
        self.json.close(']');
    }

    /// Writes a changelog back from `release` until the feed is about `end` bytes long.
    fn changelog(&mut self, mut release: Release, topic: &[String], foreign: Option<usize>, end: usize) {
        self.json.member("changelog").open('[');
        while self.json.text.len() < end {
            self.json.open('{');
            self.json.member("version").string(&release.version());
            self.json.member("date").string(&release.date());
            self.json.member("changes").open('[');
            for _ in 0..=self.random.below(4) {
                let change = self.sentence(topic, foreign);
                self.json.string(&change);
                if self.json.text.len() > end {
                    break;
                }
            }
            self.json.close(']').close('}');
            release.previous(&mut self.random);
        }
        self.json.close(']');
    }

    fn translations(&mut self, size: usize) {
        self.json.member("translations").open('{');
        let first = self.random.below(self.others.len());
        let count = 1 + self.random.below(4);
        for n in 0..count {
            let other = (first + n) % self.others.len();
            let mut text = String::new();
            // Beyond ASCII a character is six bytes in the feed, and two or three here.
            while escaped_len(&text) < size / count {
                text += &self.sentence(&[], Some(other));
                text.push(' ');
            }
            self.json.member(self.others[other].0).string(text.trim_end());
        }
        self.json.close('}');
    }

    /// Returns paragraphs and lists as HTML, of about half of the bytes that the fixed members leave of
    /// `size`.
    fn description(&mut self, topic: &[String], foreign: Option<usize>, size: usize) {
        let mut text = String::new();
        if size < LEAN {
            text = self.sentence(topic, foreign);
        }
        let share = size.saturating_sub(LEAN) * (300 + self.random.below(400)) / 1000;
        while escaped_len(&text) < share {
            let (open, close) = if self.random.chance(250) { ("<ul>", "</ul>") } else { ("<p>", "</p>") };
            text += open;
            for _ in 0..2 + self.random.below(4) {
                let sentence = self.sentence(topic, foreign);
                text += &if open == "<ul>" { format!("<li>{sentence}</li>") } else { format!("{sentence} ") };
            }
            text.truncate(text.trim_end().len());
            text += close;
            text += "\n";
        }
        self.json.member("description").string(text.trim_end());
    }

    fn rare(&mut self) -> String {
        self.english.rare(&mut self.random).to_owned()
    }

    fn sentence(&mut self, topic: &[String], foreign: Option<usize>) -> String {
        match foreign {
            Some(other) => self.others[other].1.sentence(&mut self.random, &[]),
            None => self.english.sentence(&mut self.random, topic),
        }
    }
}

/// Version and release date.
struct Release {
    version: [usize; 3],
    /// Days since the start of 2010, with months of 28 days.
    day: usize,
}

impl Release {
    fn new(random: &mut Random) -> Self {
        Self {
            version: [random.below(20), random.below(30), random.below(12)],
            day: 13 * 336 + random.below(2 * 336),
        }
    }

    /// Changes to the previous release.
    fn previous(&mut self, random: &mut Random) {
        self.day = self.day.saturating_sub(1 + random.below(90));
        self.version = match self.version {
            [major, 0, 0] => [major.saturating_sub(1), random.below(10), random.below(6)],
            [major, minor, 0] => [major, minor - 1, random.below(6)],
            [major, minor, patch] => [major, minor, patch - 1],
        };
    }

    fn version(&self) -> String {
        let [major, minor, patch] = self.version;
        format!("{major}.{minor}.{patch}")
    }

    fn date(&self) -> String {
        format!("{}-{:02}-{:02}", 2010 + self.day / 336, 1 + self.day / 28 % 12, 1 + self.day % 28)
    }
}

/// Turns `wp-toolkit` into `Wp Toolkit`.
fn title(code: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect::<String>())
            .unwrap_or_default()
    };
    code.split('-').map(capital).collect::<Vec<_>>().join(" ")
}
