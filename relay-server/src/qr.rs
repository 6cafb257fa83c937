//! QR pictures for terminals.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// Draws a text as a QR picture of half-height blocks, dark on light, each line ended; `None` when the text
/// is too long for one.
pub fn qr_picture(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let mut picture = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    picture.push('\n');
    Some(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_an_address_and_refuses_what_does_not_fit() {
        let picture = qr_picture("/ip4/192.0.2.1/tcp/7777").unwrap();

        assert!(picture.lines().count() > 10);
        assert!(qr_picture(&"x".repeat(5000)).is_none());
    }
}
