<?php
// What a vendor's sample of such a proxy does: it fetches, decodes, filters and encodes for every request.
$codes = ['wp-toolkit', 'docker'];
$packages = json_decode(file_get_contents(getenv('FEED')), true);
$shown = array_filter($packages, function ($package) use ($codes) {
    $url = $package['buy_url'] ?? '';
    return !is_string($url) || parse_url($url, PHP_URL_HOST) !== 'go.plesk.com'
        || in_array($package['code'], $codes, true);
});
header('Content-Type: application/json');
echo json_encode(array_values($shown));
