//! Tests the zones of numbers. What is expected comes from the numbering plans of the countries and
//! from where their zones are, and not from the data.

use proptest::prelude::*;

use super::*;

/// A number, zones that it may be in, and zones that it can't be in.
type Expected = (&'static str, &'static [&'static str], &'static [&'static str]);

const US_MAINLAND: &[&str] = &["America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles"];
const NORTH_AMERICAN: &[&str] = &[
    "America/St_Johns",
    "America/New_York",
    "America/Los_Angeles",
    "America/Adak",
    "Pacific/Honolulu",
    "Pacific/Guam",
    "Pacific/Pago_Pago",
    "America/Jamaica",
];
const AUSTRALIAN: &[&str] = &[
    "Australia/Perth",
    "Australia/Eucla",
    "Australia/Darwin",
    "Australia/Adelaide",
    "Australia/Brisbane",
    "Australia/Sydney",
    "Australia/Hobart",
    "Australia/Lord_Howe",
    "Indian/Christmas",
    "Indian/Cocos",
];
const RUSSIAN: &[&str] = &[
    "Europe/Kaliningrad",
    "Europe/Moscow",
    "Europe/Samara",
    "Asia/Yekaterinburg",
    "Asia/Omsk",
    "Asia/Novosibirsk",
    "Asia/Irkutsk",
    "Asia/Yakutsk",
    "Asia/Vladivostok",
    "Asia/Magadan",
    "Asia/Kamchatka",
];
const INDONESIAN: &[&str] = &["Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura"];
const MEXICAN: &[&str] = &["America/Tijuana", "America/Hermosillo", "America/Mexico_City", "America/Cancun"];

/// An area of +1 in two zones.
const CENTRAL_AND_EASTERN: &[&str] = &["America/Chicago", "America/New_York"];
const MOUNTAIN_AND_CENTRAL: &[&str] = &["America/Chicago", "America/Denver"];

const OF_NORTH_AMERICA: &[Expected] = &[
    // San Francisco, New York, Honolulu, San Juan, Hagåtña, Toronto, Kingston: areas in one zone.
    ("+14155550101", &["America/Los_Angeles"], &["America/Denver"]),
    ("+12125550123", &["America/New_York"], &["America/Chicago"]),
    ("+18085550123", &["Pacific/Honolulu"], &["America/Los_Angeles"]),
    ("+17875550123", &["America/Puerto_Rico"], &["America/New_York"]),
    ("+16715550123", &["Pacific/Guam"], &["Pacific/Honolulu"]),
    ("+14165550123", &["America/Toronto"], &["America/Winnipeg"]),
    ("+18765550123", &["America/Jamaica"], &["America/New_York"]),
    ("+14805550123", &["America/Phoenix"], &["America/Denver"]),
    // Tallahassee and Pensacola, whatever the exchange, and the overlay.
    ("+18502221234", CENTRAL_AND_EASTERN, US_MAINLAND.split_at(2).1),
    ("+18504361234", CENTRAL_AND_EASTERN, &[]),
    ("+14485550123", CENTRAL_AND_EASTERN, &[]),
    // Orlando's overlay.
    ("+16895550123", &["America/New_York"], &[]),
    // Indiana and its overlay.
    ("+12195550123", CENTRAL_AND_EASTERN, &[]),
    ("+15745550123", CENTRAL_AND_EASTERN, &[]),
    ("+18125550123", CENTRAL_AND_EASTERN, &[]),
    ("+19305550123", CENTRAL_AND_EASTERN, &[]),
    // Kentucky with its overlay, Tennessee, Michigan.
    ("+12705550123", CENTRAL_AND_EASTERN, &[]),
    ("+13645550123", CENTRAL_AND_EASTERN, &[]),
    ("+16065550123", CENTRAL_AND_EASTERN, &[]),
    ("+14235550123", CENTRAL_AND_EASTERN, &[]),
    ("+19065550123", CENTRAL_AND_EASTERN, &[]),
    // The Dakotas, Nebraska, Kansas, Texas.
    ("+16055550123", MOUNTAIN_AND_CENTRAL, &["America/New_York"]),
    ("+17015550123", MOUNTAIN_AND_CENTRAL, &[]),
    ("+13085550123", MOUNTAIN_AND_CENTRAL, &[]),
    ("+17855550123", MOUNTAIN_AND_CENTRAL, &[]),
    ("+16205550123", MOUNTAIN_AND_CENTRAL, &[]),
    ("+19155550123", MOUNTAIN_AND_CENTRAL, &[]),
    ("+14325550123", MOUNTAIN_AND_CENTRAL, &[]),
    // Idaho and Oregon with their overlays, Nevada, Arizona.
    ("+12085550123", &["America/Boise", "America/Los_Angeles"], &["America/Chicago"]),
    ("+19865550123", &["America/Boise", "America/Los_Angeles"], &[]),
    ("+15415550123", &["America/Boise", "America/Los_Angeles"], &[]),
    ("+14585550123", &["America/Boise", "America/Los_Angeles"], &[]),
    ("+17755550123", &["America/Denver", "America/Los_Angeles"], &[]),
    ("+19285550123", &["America/Denver", "America/Phoenix"], &[]),
    ("+19075550123", &["America/Adak", "America/Anchorage"], &[]),
    // Ontario's north-west, British Columbia and an overlay, the Arctic, Quebec's east, Labrador
    // and its overlay, Saskatchewan.
    ("+18075550123", &["America/Toronto", "America/Winnipeg"], &[]),
    ("+12505550123", &["America/Vancouver", "America/Edmonton"], &["America/Toronto"]),
    ("+17785550123", &["America/Vancouver", "America/Edmonton"], &[]),
    ("+18675550123", &["America/Whitehorse", "America/Edmonton", "America/Rankin_Inlet", "America/Iqaluit"], &[]),
    ("+14185550123", &["America/Toronto", "America/Halifax"], &[]),
    ("+17095550123", &["America/St_Johns", "America/Goose_Bay"], &[]),
    ("+18795550123", &["America/St_Johns", "America/Goose_Bay"], &[]),
    ("+14745550123", &["America/Regina", "America/Edmonton", "America/Winnipeg"], &[]),
    // Toll-free, premium, personal, unassigned: anywhere in 25 countries.
    ("+18005550123", NORTH_AMERICAN, &["Europe/London"]),
    ("+18335550123", NORTH_AMERICAN, &[]),
    ("+19005550123", NORTH_AMERICAN, &[]),
    ("+15005550006", NORTH_AMERICAN, &[]),
    ("+12005550123", NORTH_AMERICAN, &[]),
    ("+17295550123", CENTRAL_AND_EASTERN, &[]),
];

const OF_OTHER_COUNTRIES: &[Expected] = &[
    // Australian mobile, 1300, 1800 and satellite numbers say nothing of a place. Landlines do:
    // Sydney, Melbourne, Brisbane, Perth.
    ("+61412345678", AUSTRALIAN, &["Pacific/Auckland"]),
    ("+611300123456", AUSTRALIAN, &[]),
    ("+611800123456", AUSTRALIAN, &[]),
    ("+61147123456", AUSTRALIAN, &[]),
    ("+61293744000", &["Australia/Sydney"], &["Australia/Perth", "Australia/Adelaide"]),
    ("+61392891234", &["Australia/Sydney"], &["Australia/Perth"]),
    ("+61733333333", &["Australia/Brisbane"], &["Australia/Perth"]),
    ("+61755551234", &["Australia/Brisbane"], &[]),
    ("+61892221234", &["Australia/Perth"], &["Australia/Sydney"]),
    ("+61889991234", &["Australia/Darwin"], &["Australia/Sydney"]),
    ("+61891621234", &["Indian/Cocos"], &[]),
    ("+61891641234", &["Indian/Christmas"], &[]),
    ("+672322123", &["Pacific/Norfolk"], &["Antarctica/Casey"]),
    ("+672139123", &["Antarctica/Macquarie"], &[]),
    // +7: Russian mobile and toll-free numbers, those of Kazakhstan, Moscow, Kaliningrad, Saratov,
    // Vladivostok.
    ("+79161234567", RUSSIAN, &["Asia/Almaty"]),
    ("+78001234567", RUSSIAN, &[]),
    ("+77012345678", &["Asia/Almaty", "Asia/Aqtobe"], &["Europe/Moscow", "Asia/Kamchatka"]),
    ("+77172123456", &["Asia/Almaty"], &["Europe/Moscow"]),
    ("+74951234567", &["Europe/Moscow"], &["Asia/Yekaterinburg"]),
    ("+74012123456", &["Europe/Kaliningrad"], &["Europe/Moscow"]),
    ("+78452123456", &["Europe/Saratov"], &["Asia/Omsk"]),
    ("+74232123456", &["Asia/Vladivostok"], &["Europe/Moscow"]),
    // The islands of Spain, Portugal, Ecuador, Chile, New Zealand: their mobile numbers are those
    // of the mainland.
    ("+34612345678", &["Europe/Madrid", "Atlantic/Canary"], &["Europe/Lisbon"]),
    ("+34900123456", &["Europe/Madrid", "Atlantic/Canary"], &[]),
    ("+34911234567", &["Europe/Madrid"], &["Atlantic/Canary"]),
    ("+34922123456", &["Atlantic/Canary"], &["Europe/Madrid"]),
    ("+351912345678", &["Europe/Lisbon", "Atlantic/Azores"], &["Europe/Madrid"]),
    ("+351296123456", &["Atlantic/Azores"], &["Europe/Lisbon"]),
    ("+593991234567", &["America/Guayaquil", "Pacific/Galapagos"], &[]),
    ("+59322123456", &["America/Guayaquil"], &["Pacific/Galapagos"]),
    ("+56961234567", &["America/Santiago", "America/Punta_Arenas", "Pacific/Easter"], &[]),
    ("+56612212345", &["America/Punta_Arenas"], &["Pacific/Easter"]),
    ("+56322100123", &["Pacific/Easter"], &[]),
    ("+64211234567", &["Pacific/Auckland", "Pacific/Chatham"], &[]),
    ("+6493001234", &["Pacific/Auckland"], &["Pacific/Chatham"]),
    // Indonesia: a mobile number, Jakarta, Denpasar, Jayapura.
    ("+6281212345678", INDONESIAN, &["Asia/Tokyo"]),
    ("+62215551234", &["Asia/Jakarta"], &["Asia/Jayapura"]),
    ("+62361234567", &["Asia/Makassar"], &["Asia/Jakarta"]),
    ("+62967521234", &["Asia/Jayapura"], &["Asia/Makassar"]),
    // Brazil's mobile numbers have the area code of a place: São Paulo, Manaus, Belém, Recife with
    // Noronha, Rio Branco.
    ("+5511987654321", &["America/Sao_Paulo"], &["America/Manaus"]),
    ("+5592987654321", &["America/Manaus"], &["America/Noronha"]),
    ("+5591987654321", &["America/Belem"], &["America/Noronha"]),
    ("+5581987654321", &["America/Recife", "America/Noronha"], &["America/Manaus"]),
    ("+556832123456", &["America/Rio_Branco"], &["America/Sao_Paulo"]),
    ("+558001234567", &["America/Sao_Paulo", "America/Manaus", "America/Rio_Branco", "America/Noronha"], &[]),
    // And so have Mexico's: Mexico City, Tijuana and its overlay, Cancún, Chihuahua, Hermosillo.
    ("+525512345678", &["America/Mexico_City"], &["America/Tijuana", "America/Cancun"]),
    ("+526641234567", &["America/Tijuana"], &["America/Mexico_City"]),
    ("+526631234567", &["America/Tijuana"], &[]),
    ("+529981234567", &["America/Cancun"], &["America/Tijuana"]),
    ("+526141234567", &["America/Chihuahua"], &["America/Tijuana"]),
    ("+528001234567", MEXICAN, &[]),
    // Turkey and Northern Cyprus; Israel and the Palestinian territories, which have a code of
    // their own besides.
    ("+903922281234", &["Europe/Istanbul", "Asia/Famagusta"], &[]),
    ("+905338612345", &["Europe/Istanbul", "Asia/Famagusta"], &[]),
    ("+905321234567", &["Europe/Istanbul"], &["Asia/Famagusta"]),
    ("+972599123456", &["Asia/Jerusalem", "Asia/Gaza", "Asia/Hebron"], &[]),
    ("+972502345678", &["Asia/Jerusalem"], &["Asia/Hebron"]),
    ("+970599123456", &["Asia/Gaza", "Asia/Hebron"], &["Asia/Jerusalem"]),
    // Mongolia, Congo, China, Papua New Guinea, Kiribati, Micronesia, Polynesia, Greenland,
    // Réunion, Mayotte.
    ("+97688123456", &["Asia/Ulaanbaatar", "Asia/Hovd"], &[]),
    ("+243812345678", &["Africa/Kinshasa", "Africa/Lubumbashi"], &[]),
    ("+8613812345678", &["Asia/Shanghai", "Asia/Urumqi"], &[]),
    ("+862112345678", &["Asia/Shanghai"], &["Asia/Urumqi"]),
    ("+869912345678", &["Asia/Urumqi"], &[]),
    ("+67570123456", &["Pacific/Port_Moresby", "Pacific/Bougainville"], &[]),
    ("+68672001234", &["Pacific/Tarawa", "Pacific/Kanton", "Pacific/Kiritimati"], &[]),
    ("+6919201234", &["Pacific/Chuuk", "Pacific/Pohnpei"], &[]),
    ("+68987123456", &["Pacific/Tahiti", "Pacific/Marquesas", "Pacific/Gambier"], &[]),
    ("+299221234", &["America/Nuuk", "America/Danmarkshavn", "America/Thule"], &[]),
    ("+262692123456", &["Indian/Reunion"], &["Indian/Mayotte"]),
    ("+262639012345", &["Indian/Mayotte"], &["Indian/Reunion"]),
    // Countries in one zone, whose row at the calling code is that of another country or of an old
    // law in the source.
    ("+213551234567", &["Africa/Algiers"], &["Europe/Paris"]),
    ("+212612345678", &["Africa/Casablanca"], &["Atlantic/Canary"]),
    ("+218912345678", &["Africa/Tripoli"], &["Europe/Bucharest"]),
    ("+211912345678", &["Africa/Juba"], &["Africa/Nairobi"]),
    ("+50581234567", &["America/Managua"], &["America/Chicago"]),
    ("+919876543210", &["Asia/Kolkata"], &["Asia/Calcutta"]),
    ("+380501234567", &["Europe/Kyiv"], &["Europe/Moscow", "Europe/Simferopol"]),
    ("+4915112345678", &["Europe/Berlin"], &["Europe/London"]),
    ("+33612345678", &["Europe/Paris"], &["Indian/Reunion"]),
    ("+819012345678", &["Asia/Tokyo"], &[]),
    // One clock, several names: the United Kingdom and its neighbours, Åland, Svalbard, the
    // Vatican, Curaçao and Bonaire, Kosovo.
    ("+447400123456", &["Europe/London"], &["Europe/Paris"]),
    ("+443001234567", &["Europe/London"], &[]),
    ("+447797712345", &["Europe/Jersey"], &["Europe/Paris"]),
    ("+447624123456", &["Europe/Isle_of_Man"], &[]),
    ("+358401234567", &["Europe/Helsinki", "Europe/Mariehamn"], &[]),
    ("+4740612345", &["Europe/Oslo"], &[]),
    ("+393123456789", &["Europe/Rome"], &[]),
    ("+59995181234", &["America/Curacao"], &[]),
    ("+38343123456", &["Europe/Belgrade"], &[]),
    ("+24762889", &["Atlantic/St_Helena"], &[]),
    // A number of a country that nobody has: all of its zones.
    ("+61999999999", AUSTRALIAN, &[]),
    ("+7123", RUSSIAN, &[]),
    ("+620000000", INDONESIAN, &[]),
    // No country: global networks, freephone of the world, codes that nobody has, what is no
    // number.
    ("+80012345678", &["UTC"], &["Europe/London"]),
    ("+870773123456", &["UTC"], &[]),
    ("+87812345678901", &["UTC"], &[]),
    ("+881612345678", &["UTC"], &[]),
    ("+88213123456", &["UTC"], &[]),
    ("+883510012345", &["UTC"], &[]),
    ("+979123456789", &["UTC"], &[]),
    ("+999123456789", &["UTC"], &[]),
    ("72975", &["UTC"], &[]),
    ("visitor", &["UTC"], &[]),
    ("+", &["UTC"], &[]),
    ("+é1", &["UTC"], &[]),
];

#[test]
fn numbers_may_be_in_all_zones_of_their_place_or_country() {
    let expected = OF_NORTH_AMERICA.iter().chain(OF_OTHER_COUNTRIES);
    let mut faults = Vec::new();
    for (number, includes, excludes) in expected {
        let found = zones(number);
        let missing: Vec<&&str> = includes.iter().filter(|zone| !found.contains(&TimeZone(zone))).collect();
        let foreign: Vec<&&str> = excludes.iter().filter(|zone| found.contains(&TimeZone(zone))).collect();
        if !missing.is_empty() || !foreign.is_empty() {
            faults.push(format!("{number} lacks {missing:?} and has {foreign:?}: {found:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The zones that a file says of each prefix.
fn rows() -> Vec<(&'static str, TimeZones)> {
    let corrections = lines(include_str!("corrections.txt"));
    let rows = lines(include_str!("libphonenumber.txt")).chain(corrections);
    rows.map(|(prefix, zones, _)| (prefix, zones)).filter(|(prefix, _)| has_more_than_a_code(prefix)).collect()
}

#[test]
fn the_files_are_whole() {
    let file = include_str!("libphonenumber.txt");
    assert_eq!(lines(file).count(), file.lines().filter(|line| line.contains('|')).count());
    assert!(rows().len() > 3000, "{}", rows().len());
    for (prefix, zones, reason) in lines(include_str!("corrections.txt")) {
        assert!(prefix.bytes().all(|byte| byte.is_ascii_digit()) && !zones.is_empty(), "{prefix}");
        assert!(reason.len() > 5, "{prefix} has a reason");
    }
    for country in DATABASE.iter().filter(|country| country.id() != "001") {
        assert!(TABLE.countries.contains_key(country.id()), "{} has zones", country.id());
    }
}

#[test]
fn no_correction_says_what_the_source_says() {
    let source = Table::of_source();
    let is_superfluous = |(prefix, zones, _): &(&str, TimeZones, &str)| {
        let below = source.prefixes.iter().filter(|(known, _)| known.starts_with(prefix)).map(|(_, zones)| zones);
        let mut known = source.longest(prefix).into_iter().chain(below).peekable();
        known.peek().is_some() && known.all(|known| zones.is_subset(known))
    };
    let superfluous: Vec<_> = lines(include_str!("corrections.txt")).filter(is_superfluous).collect();
    assert!(superfluous.is_empty(), "{superfluous:?}");
}

/// Names that the IANA database has replaced are asked of no database: those of zone.tab are on
/// every system.
#[test]
fn every_zone_has_its_name_of_today() {
    let today: TimeZones =
        lines(include_str!("countries.txt")).flat_map(|(_, zones, _)| zones).chain([TimeZone::UTC]).collect();
    for zone in all() {
        assert!(today.contains(&zone), "{zone:?}");
    }
    for (later, ..) in LATER {
        assert!(today.contains(&TimeZone(later)) && TimeZone(later).older().is_some(), "{later}");
    }
}

#[test]
fn a_number_with_a_prefix_of_the_data_may_be_in_its_zones_whatever_follows() {
    for (prefix, expected) in rows() {
        for rest in ["", "0", "55501", "1234567", "2345678", "90000000", "000000000"] {
            let digits: String = prefix.chars().chain(rest.chars()).take(15).collect();
            let found = zones(&format!("+{digits}"));
            assert!(expected.is_subset(&found), "+{digits} lacks {:?}", &expected - &found);
        }
    }
}

/// Digits that begin with a prefix of the data or with anything.
fn digits() -> impl Strategy<Value = String> {
    let prefixes: Vec<&'static str> = rows().into_iter().map(|(prefix, _)| prefix).collect();
    let codes = || {
        prop::sample::select(vec![
            "", "1", "7", "34", "351", "52", "55", "56", "593", "61", "62", "64", "672", "691", "86", "976",
        ])
    };
    let begins = prop_oneof![prop::sample::select(prefixes).prop_map(str::to_owned), codes().prop_map(str::to_owned)];
    (begins, "[0-9]{0,11}").prop_map(|(begins, rest)| begins.chars().chain(rest.chars()).take(15).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_shorter_number_may_be_in_all_zones_of_a_longer_one(digits in digits()) {
        let longer = zones(&format!("+{digits}"));
        // A number that nobody has, such as one with a digit too many, may be anywhere.
        let is_of_nobody = calling_code(&digits).and_then(|(code, _)| TABLE.codes.get(&code)) == Some(&longer);
        let compared = if is_of_nobody { 0 } else { digits.len() };
        for length in 0..compared {
            let shorter = zones(&format!("+{}", &digits[..length]));
            // The first digits of a calling code say nothing.
            if shorter != TimeZones::from([TimeZone::UTC]) {
                prop_assert!(longer.is_subset(&shorter), "+{} lacks {:?} of +{digits}", &digits[..length], &longer - &shorter);
            }
        }
    }

    #[test]
    fn anything_has_a_zone(text in ".{0,20}") {
        prop_assert!(!zones(&text).is_empty());
    }
}
