//! The time zones that a phone number may be in, by its digits. src/domain/time_zone/README.md
//! describes the data.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use phonenumber::metadata::{DATABASE, Descriptor, Descriptors};

/// A time zone by its name in the IANA database, such as `Europe/Berlin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeZone(&'static str);

/// Time zones in the order of their names.
pub type TimeZones = BTreeSet<TimeZone>;

impl TimeZone {
    /// The zone of a contact whose number says nothing of a country.
    pub const UTC: Self = Self("UTC");

    /// The name.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The zone to go by where a database doesn't know this one, because it came later: by its
    /// older name, or by the zone that the place left or whose clock it shares.
    pub fn older(self) -> Option<Self> {
        LATER.iter().find(|(zone, ..)| *zone == self.0).map(|(_, older, _)| Self(older))
    }

    /// The zone of a name in libphonenumber's data, which keeps some names that the IANA database
    /// has replaced. Some systems install those in a package of its own (`tzdata-legacy` of
    /// Debian), so they are not asked of a database.
    fn named(name: &'static str) -> Self {
        Self(REPLACED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new))
    }
}

/// Zones that an old database may lack, what it may know in their stead, and the release of the
/// IANA database that has them first.
const LATER: [(&str, &str, &str); 6] = [
    ("America/Ciudad_Juarez", "America/Ojinaga", "2022g"),
    ("America/Coyhaique", "America/Punta_Arenas", "2025b"),
    ("America/Nuuk", "America/Godthab", "2020a"),
    ("Asia/Qostanay", "Asia/Almaty", "2018h"),
    ("Europe/Kyiv", "Europe/Kiev", "2022b"),
    ("Pacific/Kanton", "Pacific/Enderbury", "2021b"),
];

/// Names of libphonenumber's data, with those that replaced them.
const REPLACED: [(&str, &str); 11] = [
    ("Africa/Asmera", "Africa/Asmara"),
    ("America/Buenos_Aires", "America/Argentina/Buenos_Aires"),
    ("America/Godthab", "America/Nuuk"),
    ("Asia/Calcutta", "Asia/Kolkata"),
    ("Asia/Choibalsan", "Asia/Ulaanbaatar"),
    ("Asia/Katmandu", "Asia/Kathmandu"),
    ("Asia/Rangoon", "Asia/Yangon"),
    ("Atlantic/Faeroe", "Atlantic/Faroe"),
    ("Pacific/Enderbury", "Pacific/Kanton"),
    ("Pacific/Ponape", "Pacific/Pohnpei"),
    ("Pacific/Truk", "Pacific/Chuuk"),
];

/// Calling codes whose mobile numbers have the area codes of landlines, so that they say as much of
/// a place. The metadata shows the same of +1 and +52, whose mobile numbers can't be told from
/// landlines.
const MOBILE_NUMBERS_HAVE_AREA_CODES: [u16; 1] = [55];

/// The calling code of the United States, Canada and 23 other countries.
const NORTH_AMERICA: u16 = 1;

/// The first digits of +1 that tell a place: the area code. Which exchange a number came from says
/// less: nearly all of them are mobile or can be, and keep their number within the area.
const AREA_OF_NORTH_AMERICA: usize = 4;

/// The data, by prefixes and by countries.
struct Table {
    /// The zones of numbers by their first digits without the plus. The longest prefix of a number
    /// counts.
    prefixes: HashMap<&'static str, TimeZones>,
    /// The zones of each country, by ISO 3166-1 alpha-2.
    countries: HashMap<&'static str, TimeZones>,
    /// The zones of all countries of each calling code.
    codes: HashMap<u16, TimeZones>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::read);

/// All zones that a number may be in. A number that says nothing of a place, such as most mobile
/// and all toll-free ones, may be in any zone of its countries; so may one that nobody has
/// assigned. A number of no country goes by UTC.
pub fn zones(number: &str) -> TimeZones {
    number.strip_prefix('+').and_then(of_digits).unwrap_or_else(|| TimeZones::from([TimeZone::UTC]))
}

/// All zones of the table, for the checks of a database.
pub fn all() -> TimeZones {
    TABLE.codes.values().flatten().copied().chain([TimeZone::UTC]).collect()
}

/// `None` if they begin with no calling code of a country.
fn of_digits(digits: &str) -> Option<TimeZones> {
    let (code, national) = calling_code(digits)?;
    let all = TABLE.codes.get(&code)?;
    let area = TABLE.longest(digits);
    if code == NORTH_AMERICA {
        return Some(area.unwrap_or(all).clone());
    }
    let mut zones = TimeZones::new();
    for country in DATABASE.by_code(&code)? {
        let of_country = TABLE.countries.get(country.id()).unwrap_or(all);
        let tells = tells(country.descriptors(), code, national);
        match tells {
            Tells::Nothing => {}
            // Of a place that is in another country of the code, the source has no row for this
            // number.
            Tells::Area if area.is_some_and(|area| !area.is_disjoint(of_country)) => {}
            Tells::Area | Tells::Country => zones.extend(of_country),
        }
        if !matches!(tells, Tells::Nothing) {
            zones.extend(area.into_iter().flatten());
        }
    }
    Some(if zones.is_empty() { all.clone() } else { zones })
}

/// What a number tells of where it is.
enum Tells {
    /// It is no number of the country.
    Nothing,
    /// It may be anywhere in the country.
    Country,
    /// It has the digits of a place.
    Area,
}

fn tells(country: &Descriptors, code: u16, national: &str) -> Tells {
    let is = |kind: Option<&Descriptor>| kind.is_some_and(|kind| kind.is_match(national));
    let is_landline = is(country.fixed_line());
    let is_mobile = is(country.mobile());
    let has_no_place = [
        country.toll_free(),
        country.premium_rate(),
        country.shared_cost(),
        country.personal_number(),
        country.voip(),
        country.pager(),
        country.uan(),
        country.voicemail(),
    ];
    if has_no_place.into_iter().any(is) {
        Tells::Country
    } else if is_landline || (is_mobile && MOBILE_NUMBERS_HAVE_AREA_CODES.contains(&code)) {
        Tells::Area
    } else if is_mobile {
        Tells::Country
    } else {
        Tells::Nothing
    }
}

/// The calling code that digits begin with, and the digits after it. No code is the beginning of
/// another one.
fn calling_code(digits: &str) -> Option<(u16, &str)> {
    let mut parts = (1..=3).filter_map(|length| digits.split_at_checked(length));
    parts.find_map(|(code, national)| {
        let code = code.parse().ok()?;
        DATABASE.region(&code).map(|_| (code, national))
    })
}

impl Table {
    fn read() -> Self {
        let mut table = Self::of_source();
        for (prefix, zones, _) in lines(include_str!("time_zone/corrections.txt")) {
            table.correct(prefix, &zones);
        }
        table.join();
        table
    }

    /// Without corrections.
    fn of_source() -> Self {
        let countries = lines(include_str!("time_zone/countries.txt")).map(|(country, zones, _)| (country, zones));
        let mut table = Self { prefixes: HashMap::new(), countries: countries.collect(), codes: HashMap::new() };
        for (prefix, zones, _) in lines(include_str!("time_zone/libphonenumber.txt")) {
            let of_america = prefix.starts_with('1').then(|| prefix.get(..AREA_OF_NORTH_AMERICA)).flatten();
            table.add(of_america.unwrap_or(prefix), zones);
        }
        table
    }

    /// Adds a row of libphonenumber's. What stands there at a calling code alone is old for some
    /// countries: countries.txt has it.
    fn add(&mut self, prefix: &'static str, zones: TimeZones) {
        if has_more_than_a_code(prefix) {
            self.prefixes.entry(prefix).or_default().extend(zones);
        }
    }

    /// Adds zones to a prefix and to all that begin with it.
    fn correct(&mut self, prefix: &'static str, zones: &TimeZones) {
        if has_more_than_a_code(prefix) {
            let so_far = self.longest(prefix).cloned().unwrap_or_default();
            self.prefixes.entry(prefix).or_insert(so_far);
        }
        let longer = self.prefixes.iter_mut().filter(|(known, _)| known.starts_with(prefix));
        longer.for_each(|(_, known)| known.extend(zones));
    }

    /// Joins the zones of all countries and places of each calling code.
    fn join(&mut self) {
        for country in DATABASE.iter() {
            let zones = self.countries.get(country.id()).into_iter().flatten();
            self.codes.entry(country.country_code()).or_default().extend(zones);
        }
        for (prefix, zones) in &self.prefixes {
            if let Some(known) = calling_code(prefix).and_then(|(code, _)| self.codes.get_mut(&code)) {
                known.extend(zones);
            }
        }
        self.codes.retain(|_, zones| !zones.is_empty());
    }

    /// The zones of the longest prefix that digits begin with.
    fn longest(&self, digits: &str) -> Option<&TimeZones> {
        let prefixes = (1..=digits.len()).rev().filter_map(|length| digits.get(..length));
        prefixes.into_iter().find_map(|prefix| self.prefixes.get(prefix))
    }
}

fn has_more_than_a_code(prefix: &str) -> bool {
    calling_code(prefix).is_some_and(|(_, national)| !national.is_empty())
}

/// The lines of a file of the data: what they are about, its zones, and the rest.
fn lines(file: &'static str) -> impl Iterator<Item = (&'static str, TimeZones, &'static str)> {
    file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(|line| {
        let (about, rest) = line.split_once('|')?;
        let (zones, rest) = rest.split_once('|').unwrap_or((rest, ""));
        Some((about, zones.split('&').map(TimeZone::named).collect(), rest))
    })
}

#[cfg(test)]
mod tests;
