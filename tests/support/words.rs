//! Words to make texts of, the frequent ones first. `_` stands for a space: a turn of phrase is one word.

pub const ENGLISH: &str = "
the to and of a in for your is with on you it from that by or server as can are be this all Plesk not
an websites new if domain when files every backup at one mail settings support user security Fixed: now
site will which database extension updates more certificate administrator Added have customers version
web hosting without has no list each in_the_control_panel access page only their time email domains if_you
PHP than account also subscription into was other same control_panel password up per before them between
WordPress data they after button install automatically via while own was_not any use its Linux service out
of_the_server manage license DNS does key but screen SSL log cache two please_contact_our_support_team
monitoring addresses scan error run simple fast features works_with set where change report name command
mailbox free performance storage there available free_trial Improved customer cloud traffic image plans click
malware options limit restore rules size status single several just during make create most interface API
instead keep show number enable check minutes full first configure requests provides system address firewall
connection needs users been remote download backups applications default detects could administrators
for_each_subscription directory find host attacks test history both directly compatible container many even
schedule mode daily integration virus module removed protocol template owner days easily IP search tool made
speed help then allows Internal stored hours resellers package reports records table script large menu shown
known added using through vulnerabilities plan folder Windows login software tasks again content such Apache
alerts configuration because over repository Node.js back shows spam statistics language memory logs selected
zone local network tokens real so protection line always multiple certain easy open start quickly blocked
disk engine encryption deploy installed dashboard process part must copy environment statement minimum stop
tables missing recommended small once release whole connected variables scheduled provider text should panel
optimization visitors point working private complete update changed warning dark detailed ready group
migrate code developers agency another next branch job types few value compressed analysis modern
rate already translated policy browser images automatic notification team world possible long links signs
upload wrong visible quarantine nginx unlimited filter different still under online unknown pages health
powerful uses reputation old mobile trusted two-factor forms proxy staging kernel ports runtime hidden form
resource reads archive cluster virtual balance country graph queue region signature theme weekly intuitive
latency notes export dedicated editor incremental bucket clone keyword ranking quota session commit greylisting
bandwidth hook invoice uptime payload snapshot whitelist blacklist brute-force catalog wildcard nameserver
composer subdomain alias ACME greylist rollback cron rsync webhook OAuth IMAP Redis MariaDB PostgreSQL SFTP
tomcat ModSecurity Fail2Ban DKIM DMARC WHOIS IPv6 HTTP/3 CDN JSON XML YAML Ubuntu Debian AlmaLinux CloudLinux
accelerate adjust afterwards allowance ample anonymous antivirus appear assign attach author bounce broken
bundle calendar capacity capture careful chart clean collect comfortable compare compromise conflict consent
convert corrupt crash credential crawl damage deadline defend delay delete dependency deprecated destination
device differ digest disable disclose display drain duplicate effort elastic eliminate embed endpoint enforce
escape evaluate evidence exact exclude expire explain expose failure familiar flexible forensic forward
gateway generate granular guard guide harden harmless heuristics hierarchy highlight idle ignore immediate
import impact inbound incident indicate infected inspect instance invalid invite isolate journal kilobyte
landscape layer lean legacy leverage library lightweight lock loopback mailing mandatory manual maximum measure
merge middleware migration mirror mitigate moderate mount neighbour normal notify obsolete offline onboarding
operator outbound outdated overlap override overview parallel patch pause peak permission placeholder portable
pricing priority probe profile prompt prove publish purge random reboot rebuild recipient recover redirect
redundant refresh refuse registrar regular reject rename renew replica rescue reset residue retention retry
revert revoke rotate routine safe sandbox satisfy scale seamless secondary sender sensitive shield shrink
sitemap skip slow socket spare spike stable stale standard standby static strict subnet suffix suggest
suspend switch symlink synchronise tamper target telemetry temporary threat threshold throttle timeout toggle
trace transfer transparent trigger tuning tunnel typo unattended unexpected uninstall unlock unsafe upgrade
upstream validate vault vendor verify viewport wizard workaround workflow worker workspace zero-day";

pub const GERMAN: &str = "
die der und für in mit auf von den werden das ist zu Sie alle Server eine Websites wird im oder Domain sich
als bei nach nicht auch Ihre mehr einen Sicherung Kunden über kann Erweiterung Dateien jede automatisch dem
Zertifikat können neue ein Einstellungen Postfach aus ohne Datenbank Sicherheit Verwaltung wenn zum nur Passwörter
Überwachung vor Abonnement Benutzer geprüft Aktualisierung verfügbar zurück Schutz Behoben: Oberfläche durch Zugriff
mehrere größer geändert Schlüssel Bericht Aufträge täglich Speicherplatz wiederherstellen Verschlüsselung Prüfung
Ländern Anmeldung außerdem einfach schnell gelöscht E-Mails Schadsoftware Straße früher lässt hinzufügen Änderungen";

pub const FRENCH: &str = "
de les et la des le à pour vos sur en un une est par avec votre du serveur sites dans plus ou domaine chaque qui
sauvegarde sécurité mises_à_jour client automatiquement sans données extension tous base fichiers accès être
certificat peut nouvelle à_partir_de même compte paramètres créer réseau jour n'est Corrigé : été déjà messagerie
journal protégé après gérer clés licence élevé dès système désormais boîtes connexion état règles copie panneau
répertoire modifié français très dépôt requêtes débit numéro où première aperçu hébergement tâches planifiées";

pub const SPANISH: &str = "
de la y el los en para con su las del un que una se sitios por servidor sin más copia_de_seguridad cada al
dominio clientes correo es o automáticamente desde archivos extensión configuración base_de_datos nuevo también
actualización todos versión contraseña usuario página administración está acceso puede tráfico rápido fácil
además según informes análisis únicamente había códigos español año después suscripción gestión diseño cómodo";

pub const UKRAINIAN: &str = "
та на в для з і до що сервера не усі від або сайтів у доступ кожного резервні_копії без домену за файли можна
автоматично безпека оновлення розширення користувачів бази_даних пошта налаштування після сертифікат новий
панель через журнал захист клієнти пароль перевірка виправлено швидко більше підписка ключі запит розмір
звіт диск мова час стан зміни тепер якщо його щодня простий копія список сторінка загрози пам'ять";

pub const GREEK: &str = "
και το για τα με της σε του από τον την στο να διακομιστή οι κάθε ιστότοπους αντίγραφα_ασφαλείας που είναι ή
αρχεία ασφάλεια όλα χωρίς χρήστες αυτόματα τομέα ενημερώσεις επέκταση βάση_δεδομένων πρόσβαση νέα έκδοση μπορείτε
πιστοποιητικό κωδικός ρυθμίσεις ταχύτητα αναφορά σελίδα προστασία μνήμη έλεγχος λίστα γλώσσα αλλαγές πίνακα";

pub const JAPANESE: &str = "
の を に が は で と サーバー ウェブサイト して できます から すべての ドメイン バックアップ 更新 設定 を自動的に
する 管理 ファイル セキュリティ または 拡張機能 ユーザー データベース ごとに 証明書 新しい されました 表示 から保護
メール アクセス パスワード 確認 復元 なし も 修正 対応 監視 ログ 削除 作成 ライセンス 顧客 機能 毎日 容量 画面
場合 変更 追加 高速 簡単 通知 検出 攻撃 移行 暗号化 料金 契約 言語 一覧 検索 利用 選択 状態 前に 後で 以上";

/// What people write into texts that scanners of JSON may stumble over.
pub const SNIPPETS: &[&str] = &[
    r#"{"code":"docker","buy_url":"https://go.plesk.com/buy-plesk-ext/docker"}"#,
    r#"["a","b"],[{"#,
    r#"}],""#,
    r"C:\Program Files (x86)\Plesk\",
    r#""\"quoted\"""#,
    r"\u0022\\",
    r#"<a href="https://docs.example/plesk?from=go.plesk.com&amp;page=2#buy">documentation</a>"#,
    "<code>plesk bin extension --install-url https://example.com/x.zip</code>",
    "\ta = {\r\n\t\t[b] -> \"c\"\r\n\t}",
    "/usr/local/psa/admin/bin/php -r 'echo \"\\n\";'",
    "~ ^ | \u{8}\u{c}\u{1b}\u{7f}\u{a0}\u{2028}\u{feff}",
    "\u{1f680}",
    "\u{1f389} \u{2728}",
    "\u{1f468}\u{200d}\u{1f4bb}",
    "\u{10ffff}",
];

/// Codes of the catalog that packages sold by Plesk get before made-up ones.
pub const CODES: &[&str] = &[
    "wp-toolkit",
    "docker",
    "imunify360",
    "kernelcare-plesk",
    "joomla-toolkit",
    "revisium-antivirus",
    "acronis-backup",
    "panel-migrator",
    "plesk-multi-server",
    "slave-dns-manager",
    "pagespeed-insights",
    "route53",
    "xovi",
    "kolab",
    "nodejs",
    "ruby",
    "git",
    "letsencrypt",
    "softaculous",
    "sitepad",
    "litespeed",
    "juggernaut",
    "warden",
    "spamexperts-extension",
];
