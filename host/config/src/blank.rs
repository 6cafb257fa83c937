//! Takes parts out of a text without moving anything else, so that what is wrong further down is found in the same go
//! and stands where it stands, counted in lines and characters.

/// Takes bytes out: blanks in their place, line ends stay. `stand_in` stands at the beginning, where there is one.
pub(crate) fn blank(text: &str, (start, end): (usize, usize), stand_in: Option<&str>) -> Option<String> {
    let (before, rest) = text.split_at_checked(start)?;
    let (gone, after) = rest.split_at_checked(end.checked_sub(start)?)?;
    let mut blanked: String = gone
        .chars()
        .map(|one| if matches!(one, '\n' | '\r') { one } else { ' ' })
        .collect();
    if let Some(stand_in) = stand_in {
        // Where there is no room for a list or for keys, nothing stands for them.
        let fits = |word: &&str| {
            blanked
                .get(..word.len())
                .is_some_and(|room| !room.contains(['\n', '\r']))
        };
        if let Some(word) = [stand_in, "~"]
            .into_iter()
            .find(fits)
            .filter(|_| !gone.is_empty())
        {
            blanked.replace_range(..word.len(), word);
        }
    }
    Some([before, &blanked, after].concat())
}
