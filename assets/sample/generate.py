#!/usr/bin/env python3
"""Writes the sample catalog that `catalog-proxy demo` serves.

    python3 assets/sample/generate.py

Everything beside this file is its output; edit here and run it again. The output depends on nothing but this file (no clock,
no randomness, no compression), so a run that changes nothing leaves every byte as it was.

The two feeds have the bytes that PHP's `json_encode` would write: no spaces, `\\/` for a slash, `\\uXXXX` beyond ASCII.
The texts are our own; product names stand for the kind of extension, and every vendor's shop is a host under `.example`.
"""

import datetime
import io
import json
import pathlib
import uuid
import zipfile

HERE = pathlib.Path(__file__).resolve().parent

# How a package says who sells it: one of these three for free, PLESK for its usual link, else the URL of the vendor's own shop.
ABSENT, NULL, EMPTY = object(), None, ""
PLESK = object()


def package(code, name, vendor, buy_url, categories, short, long, changelog, *, tags="", rating=None, platforms="unix",
            shots=(), **more):
    """Returns one element of the packages feed. The newest changelog entry is the latest release; `more` goes last."""
    version, date, *_ = changelog[0]
    element = {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://ext.plesk.example/{code}")),
        "code": code,
        "name": name,
        "short_description": short,
        "description": long,
        "vendor": vendor,
        "categories": categories.split(),
        "icon_url": f"/icons/{code}.svg",
        "buy_url": f"https://go.plesk.com/buy-plesk-ext/{code}" if buy_url is PLESK else buy_url,
        "rating": rating,
        "latest_release": {
            "version": version,
            "release": (datetime.date.fromisoformat(date) - datetime.date(2015, 1, 1)).days,
            "date": date,
            "download_url": f"/downloads/{code}-{version}.zip",
            "requirements": {"plesk_min_version": "18.0.52", "plesk_max_version": None, "platforms": platforms.split()},
        },
        # The demo answers any name under /icons/, so these links work too.
        "screenshots": [
            {"title": title, "url": f"/icons/{code}-{number}.svg", "width": 1280, "height": 800}
            for number, title in enumerate(shots, 1)
        ],
        "changelog": [{"version": v, "date": d, "changes": changes} for v, d, *changes in changelog],
        "tags": tags.split(),
        **more,
    }
    if buy_url is ABSENT:
        del element["buy_url"]
    return element


PACKAGES = [
    # Websites
    package("wp-toolkit", "WP Toolkit", "Plesk", PLESK, "cms developer-tools",
        "Install, update, clone and harden many WordPress sites from one list.",
        "<p>One table shows every WordPress site on the server with its version, its open updates and its security state. "
        "Pick some rows and act on all of them at once.</p>\n"
        "<ul><li>Clone a site to a staging domain and push back only the files or only the tables that changed.</li>"
        "<li>Rehearse an update on a hidden copy; if a page looks different afterwards, the update is held back and you get both "
        "pictures.</li><li>Apply a hardening profile (file permissions, XML-RPC, author scans) and undo each measure by itself.</li>"
        "<li>Keep sets of plugins and themes that new sites start with.</li></ul>\n"
        "<p>Subscribers see their own sites only. Everything the table does can be done on the command line too, with "
        "<code>plesk ext wp-toolkit --help</code>.</p>",
        [("6.5.1", "2024-10-22", "A clone no longer keeps the search engine block of its source.",
          "Fixed: the update rehearsal waited forever when the home page answered with an endless redirect.",
          "Fixed: table prefixes with upper case letters were written in lower case to wp-config.php."),
         ("6.5.0", "2024-09-03", "Rehearsed updates can be limited to a maintenance window.",
          "New hardening measure: forbid PHP in wp-content/uploads.",
          "The list loads in pages; servers with thousands of sites open it at once."),
         ("6.4.2", "2024-06-18", "Fixed: sites in a subdirectory with a blank in its name were not found by the scan."),
         ("6.4.0", "2024-05-07", "Plugin sets can pin a version.", "Sites can be tagged, and filtered by tag.",
          "Fixed: the mail about a failed update named the wrong domain if two sites shared a database."),
         ("6.3.3", "2024-02-13", "Works with PHP 8.3.", "Fixed: an interrupted clone left its database user behind."),
         ("6.3.0", "2023-11-28", "Copy only selected tables between staging and production.")],
        tags="wordpress cms staging updates security", rating=4.7, platforms="unix windows",
        shots=("All sites with their open updates", "Cloning to a staging domain", "Hardening measures of one site",
               "Two pictures of a page, before and after an update"),
        translations={
            "de-DE": "Viele WordPress-Seiten in einer Liste: installieren, aktualisieren, klonen und härten. Vor jeder Änderung prüft "
                     "eine verborgene Kopie, ob danach noch alles läuft.",
            "fr-FR": "Tous vos sites WordPress dans une seule liste : installez, mettez à jour, clonez et sécurisez. Chaque mise à jour "
                     "peut être répétée sur une copie cachée.",
            "ja-JP": "すべての WordPress サイトを一覧で管理できます。インストール、更新、複製、セキュリティ強化をまとめて実行し、"
                     "更新前に非公開のコピーで動作を確認します。",
            "uk-UA": "Усі сайти WordPress в одному списку: встановлення, оновлення, клонування та захист.",
            "el-GR": "Όλοι οι ιστότοποι WordPress σε μία λίστα: εγκατάσταση, ενημέρωση, αντίγραφα και προστασία.",
        }),
    package("joomla-toolkit", "Joomla! Toolkit", "Plesk", PLESK, "cms",
        "A list of all Joomla! sites, with one-click updates and hardening.",
        "Finds the Joomla! sites of every subscription, tells which of them miss an update and updates the chosen ones after a backup. "
        "A check list points out weak spots such as a forgotten installation directory, a readable configuration.php or an "
        "administrator called \"admin\", and closes most of them with a switch.",
        [("2.3.4", "2024-08-20", "Reads the update channel of each site instead of assuming the stable one.",
          "Fixed: sites behind HTTP authentication were shown as broken."),
         ("2.3.0", "2024-04-16", "Joomla! 5 is supported.", "Sites can be cloned between subscriptions of one customer."),
         ("2.2.1", "2023-10-10", "Fixed: the backup before an update skipped symbolic links.")],
        tags="joomla cms updates", rating=4.1, platforms="unix windows", shots=("Sites and their versions", "The check list")),
    package("softaculous", "Softaculous", "Softaculous", "https://shop.softaculous.example/plesk/licence", "cms",
        "Several hundred web applications, installed from a form.",
        "Customers choose a wiki, forum, shop or gallery, fill in one form and have it running a minute later. The administrator "
        "decides which applications are offered, presets their settings, and sends a mail when an installation falls behind. "
        "Installations made by hand can be adopted, so they receive updates like the others.",
        [("6.1.9", "2024-10-01", "Adopted installations keep the time zone of their database.",
          "The application list is fetched with If-Modified-Since."),
         ("6.1.7", "2024-06-25", "Presets per service plan.", "Fixed: a failed installation could leave an empty directory."),
         ("6.1.4", "2024-01-30", "PHP 8.3 for installations that allow it.")],
        tags="installer applications cms", rating=4.3, shots=("The catalog of applications", "One form for an installation")),
    package("sitepad", "SitePad Website Builder", "Softaculous", "https://shop.softaculous.example/sitepad?panel=plesk", "cms",
        "Build a website from blocks in the browser and publish it as plain files.",
        "Pages are put together from text, picture, form and map blocks on top of a theme. Publishing writes static files to the "
        "subscription's web space, so the finished site needs neither PHP nor a database. 🎨 Themes can be recoloured in one place.",
        [("1.9.2", "2024-09-17", "Undo survives a reload of the editor.", "Pictures are also published as WebP."),
         ("1.9.0", "2024-05-21", "New block: opening hours.", "Fixed: anchors with umlauts did not scroll."),
         ("1.8.6", "2023-12-05", "Forms can require a consent box.")],
        tags="website-builder editor static", rating=3.9, shots=("Arranging blocks", "Choosing a theme")),
    package("cookie-consent-banner", "Bannière Cookies", "Atelier Nuage",
        "https://shop.atelier-nuage.example/fr/banniere-cookies", "cms seo-speed",
        "Un bandeau de consentement léger pour tous les sites d'un abonnement.",
        "Le bandeau s'ajoute à chaque page sans toucher au code du site : un filtre du serveur web insère un script de 4 Ko, hébergé "
        "sur place. Rien n'est chargé depuis l'extérieur avant l'accord du visiteur.\n\n"
        "Les textes sont prêts en français, allemand, anglais, espagnol et italien, et s'éditent dans Plesk. Un journal anonyme "
        "prouve quel texte a été montré à quelle date, même après une mise à jour.",
        [("3.2.0", "2024-07-09", "Le refus est aussi simple que l'accord : même taille, même niveau.",
          "Corrigé : le bandeau réapparaissait sur les sous-domaines."),
         ("3.1.4", "2024-03-12", "Contraste suffisant en thème sombre.", "Espagnol relu par une personne hispanophone."),
         ("3.1.0", "2023-11-14", "Journal anonyme des consentements.")],
        tags="cookies rgpd consentement", rating=4.4, shots=("Le bandeau sur un site vitrine", "Édition des textes")),

    # Development
    package("docker", "Docker", "Plesk", PLESK, "developer-tools server-tools",
        "Run containers next to your websites and put them behind a domain.",
        "Search a registry, choose a tag and start a container with its variables, volumes and ports set in a form. A proxy rule "
        "puts it behind a domain of the subscription, certificate included.\n\n"
        "Logs and memory use are shown while it runs. A stopped container can be started again with other settings without losing "
        "its volumes. Engines on other machines are reached over TLS, so the web server itself needs no engine at all.",
        [("1.7.2", "2024-09-24", "Registries that ask for a token are supported.", "Fixed: port ranges were cut to their first port."),
         ("1.7.0", "2024-07-02", "Containers can be limited in memory and processor time.", "Proxy rules understand WebSocket.",
          "A dry run shows the command line that the form stands for."),
         ("1.6.5", "2024-03-19", "Fixed: a volume path with a colon was split in two."),
         ("1.6.3", "2023-10-24", "Remote engines over TLS with a client certificate.")],
        tags="containers images registry", rating=4.2, shots=("Settings of a container", "A proxy rule", "Live log"),
        translations={
            "de-DE": "Container neben den Websites betreiben und über eine Domain erreichbar machen. 🐳",
            "fr-FR": "Exécutez des conteneurs à côté de vos sites et publiez-les derrière un domaine. 🐳",
            "zh-CN": "在网站旁运行容器，并通过域名对外提供服务。🐳",
        }),
    package("git", "Git", "Plesk", ABSENT, "developer-tools",
        "Deploy a website by pushing to it, or by pulling from a hosted repository.",
        "Each domain can own bare repositories, reached over SSH or HTTPS with the subscription's user. A push checks out the chosen "
        "branch to the document root and runs the deployment actions you noted down. For hosted repositories a webhook URL triggers "
        "the same steps.",
        [("1.6.0", "2024-08-06", "Deployment actions run with the PHP version of the domain.", "Branches can be deployed side by side."),
         ("1.5.3", "2024-02-27", "Ed25519 deploy keys by default.", "Fixed: submodules over SSH used the wrong key."),
         ("1.5.0", "2023-09-19", "Shallow clones for large repositories.")],
        tags="git deployment webhook", rating=4.5, platforms="unix windows", shots=("Repositories of a domain",)),
    package("nodejs", "Node.js", "Plesk", NULL, "developer-tools",
        "Host Node.js applications, several versions side by side.",
        "Switch Node.js on for a domain, point to the start file and choose a version. Dependencies are installed by a button, scripts "
        "of package.json are run from a list, and variables are kept out of the document root. Restarting is writing "
        "<code>tmp/restart.txt</code>, which a deployment can do as well.",
        [("2.4.1", "2024-10-29", "Node.js 22 can be chosen.", "Versions past their end of life are marked."),
         ("2.4.0", "2024-05-14", "pnpm and yarn are used when their lock file is found."),
         ("2.3.2", "2023-12-12", "Fixed: variables with a dollar sign lost what followed it.")],
        tags="node javascript npm", rating=4, platforms="unix windows", shots=("Application settings", "Running a script")),
    package("ruby", "Ruby", "Plesk", EMPTY, "developer-tools",
        "Host Ruby applications with the version each of them needs.",
        "Versions are installed for the whole server and chosen per domain. Bundler runs from the panel, and so do rake tasks.",
        [("1.5.2", "2024-06-11", "Ruby 3.3 can be chosen.")], tags="ruby rails"),
    package("composer", "PHP Composer", "Plesk", ABSENT, "developer-tools",
        "Install and update PHP dependencies from the panel.",
        "Finds every composer.json of a domain and shows which packages are behind, by how much, and which have a published "
        "vulnerability. Updates run as the subscription's user with the domain's PHP.",
        [("1.3.5", "2024-07-30", "Advisories are shown beside the package.", "Fixed: path repositories were reported as missing."),
         ("1.3.1", "2024-01-16", "Private repositories: tokens are kept encrypted.")],
        tags="php composer dependencies", rating=4.3, platforms="unix windows", shots=("Packages with newer versions",)),

    # Security
    package("letsencrypt", "Let's Encrypt", "Plesk", NULL, "security",
        "Free TLS certificates for domains, mail and the panel, renewed by themselves.",
        "Asks the certificate authority over ACME, answers its challenge by HTTP or DNS, installs the certificate for the web site, "
        "webmail and mail server, and renews it a month before it ends. Wildcards need the zone to be served here.\n\n"
        "If a renewal fails, the owner gets one mail with the reason in plain words, then one a week.",
        [("3.2.8", "2024-09-10", "Renewal dates are spread over the day.", "Follows the retry time that the authority sends.",
          "Fixed: an alias without DNS records kept the whole order from finishing."),
         ("3.2.5", "2024-04-23", "ECDSA certificates.", "Renewal can be rehearsed against the staging environment."),
         ("3.2.1", "2023-11-07", "Fixed: the challenge directory was not readable with umask 077.")],
        tags="tls certificates acme", rating=4.8, platforms="unix windows", shots=("Choosing names for a certificate",),
        translations={
            "de-DE": "Kostenlose TLS-Zertifikate für Domains, Mail und Panel. Sie verlängern sich rechtzeitig von selbst.",
            "cs-CZ": "Bezplatné certifikáty TLS pro domény, poštu i panel. Včas se samy obnovují.",
        }),
    # Free with a paid upgrade: the upgrade's own buy_url must not turn the package into a Plesk-sold one.
    package("revisium-antivirus", "Website Virus Scanner", "Revisium", ABSENT, "security",
        "Scans websites for injected code and tells what to clean.",
        "Reads the files of every domain at night with low priority and reports injected scripts, mail senders and redirects, with the "
        "line where they start. A second check asks public blocklists about the domain. Cleaning by hand is explained case by case; "
        "cleaning at the press of a button belongs to the paid edition.",
        [("5.1.3", "2024-10-15", "Half the reads on the second scan: unchanged files are remembered by their hash.",
          "Fixed: minified libraries were reported as obfuscated."),
         ("5.1.0", "2024-06-04", "Results can be sent to a webhook.", "Databases of content systems are scanned for scripts."),
         ("5.0.4", "2024-02-06", "A file can be excluded from the report itself.")],
        tags="malware scanner blocklist", rating=4.2, shots=("A report with three findings", "One finding in its file"),
        upgrade={
            "code": "revisium-antivirus-premium", "name": "Website Virus Scanner, cleaning edition", "period": "month",
            "features": ["clean-up with undo", "hourly scan", "unlimited domains"],
            "buy_url": "https://go.plesk.com/buy-plesk-ext/revisium-antivirus-premium",
        }),
    package("imunify360", "Imunify360", "CloudLinux", PLESK, "security",
        "Firewall, malware scanner and patch watch in one dashboard.",
        "Several layers share what they learn: an address that fails at the firewall of one server is greeted with a challenge at the "
        "next. Uploads are scanned as they arrive, infected files are cleaned and kept in quarantine for two weeks, and a dashboard "
        "tells what happened, to whom, and what is left to decide.\n\n"
        "Customers may see the findings of their own domains. Visitors blocked by mistake can free themselves by solving a puzzle.",
        [("8.1.2", "2024-10-08", "IPv6 networks are blocked by prefix instead of by address.",
          "The quarantine shows how much space it takes.", "Fixed: the challenge page was cached by some browsers."),
         ("8.1.0", "2024-08-13", "Rules can be tried in report-only mode.", "Scans pause while a backup runs."),
         ("8.0.5", "2024-05-28", "Fixed: clean-up changed the owner of files in shared directories."),
         ("8.0.0", "2024-03-05", "New dashboard.", "Databases are scanned as well as files.")],
        tags="firewall waf malware quarantine", rating=4.4, shots=("Dashboard of a week", "Quarantine", "Report-only rules"),
        translations={
            "de-DE": "Firewall, Schadcode-Suche und Patch-Übersicht auf einer Seite. Server lernen voneinander; wer irrtümlich gesperrt "
                     "wird, kann sich selbst befreien.",
            "ru-RU": "Межсетевой экран, поиск вредоносного кода и контроль обновлений на одной странице. Серверы учатся друг у друга.",
            "ja-JP": "ファイアウォール、マルウェア検査、パッチ監視を一つの画面にまとめました。誤って遮断された訪問者は自分で解除できます。",
        }),
    package("kernelcare-plesk", "KernelCare", "CloudLinux", PLESK, "security server-tools",
        "Kernel security fixes without a reboot.",
        "An agent looks for patches every four hours, checks their signature and applies them to the running kernel; connections stay "
        "open. The panel shows which vulnerabilities are closed and which kernel would have to be booted to get the same.",
        [("2.9.1", "2024-09-05", "Patches can be delayed by up to two weeks.", "Lists the closed vulnerabilities by severity."),
         ("2.9.0", "2024-03-26", "Also for 64-bit ARM."), ("2.8.4", "2023-10-31", "Fixed: proxies with a password were ignored.")],
        tags="kernel livepatch reboot", rating=4.6, shots=("Patch level of the running kernel",)),
    package("juggernaut", "Juggernaut Firewall", "Danami", "https://shop.danami.example/juggernaut", "security",
        "A stateful firewall with login watching and country rules.",
        "Rules are written in a table and tried for two minutes; without a click on \"keep\" they are taken back, so nobody is locked "
        "out by a typing error. Failed logins of mail, FTP, SSH and panel are counted together. Countries can be refused, slowed "
        "down or allowed only for single ports. Reports are drawn on the server; no data leaves it.",
        [("4.7.0", "2024-08-27", "nftables instead of iptables where available.", "Counters per rule."),
         ("4.6.2", "2024-04-30", "The country table is updated weekly and checked by signature."),
         ("4.6.0", "2023-12-19", "Rules can expire by themselves.", "Fixed: IPv6 neighbours were blocked with the subnet.")],
        tags="firewall brute-force geoip", rating=4.5, shots=("The table of rules", "Blocked logins by country")),
    package("two-factor-login", "Two-Factor Login", "Plesk", EMPTY, "authentication security",
        "Ask for a second factor when somebody signs in to the panel.",
        "Time-based codes and passkeys, with printed recovery codes for the day the phone is lost. 🔐",
        [("1.4.0", "2024-05-30", "Passkeys.", "The administrator can require a second factor per role."),
         ("1.3.2", "2023-09-26", "Fixed: codes were refused when the clock was 30 seconds off.")],
        tags="otp passkeys login", rating=4.6, platforms="unix windows"),
    package("social-login", "Social Login", "Plesk", PLESK, "authentication",
        "Sign in to the panel with an account people already have.",
        "Connects panel accounts with OpenID Connect providers. A few well-known ones are prepared; any other is added with its "
        "discovery address. Passwords of the panel can stay as a fallback or be switched off.",
        [("1.6.3", "2024-07-16", "Any OpenID Connect provider.", "Group claims can be mapped to roles."),
         ("1.5.8", "2023-11-21", "Fixed: signing out left the provider's session open.")],
        tags="oidc sso login", rating=3.7, platforms="unix windows", shots=("Providers",)),

    # Backup
    package("acronis-backup", "Acronis Backup", "Acronis", PLESK, "backup",
        "Image backups of the whole server, restored file by file.",
        "The server is saved block by block to a cloud store; only changed blocks travel. From the same backup an administrator "
        "restores the machine, and a customer restores one mailbox, one database or one directory of yesterday without asking anybody.",
        [("1.9.4", "2024-10-17", "Restoring a mailbox merges instead of replacing.", "Progress survives a closed browser window."),
         ("1.9.0", "2024-06-20", "Backups can be tested: a copy is booted every week and a picture of its screen is kept."),
         ("1.8.7", "2024-01-23", "Fixed: databases with a dash in their name were missing from the list.")],
        tags="backup image restore cloud", rating=4.1, shots=("Backups by day", "Restoring one directory", "A tested backup"),
        translations={
            "de-DE": "Abbilder des ganzen Servers, aus denen sich auch einzelne Dateien, Postfächer und Datenbanken zurückholen lassen.",
            "ko-KR": "서버 전체를 이미지로 백업하고 파일, 메일함, 데이터베이스를 하나씩 복원합니다.",
        }),
    package("google-drive-backup", "Backup to Google Drive", "Plesk", PLESK, "backup",
        "Store backups of subscriptions in a Google Drive folder.",
        "Scheduled and manual backups go to a folder that only this extension can see. Uploads continue where they broke off.",
        [("1.5.1", "2024-04-09", "Shared drives.", "Fixed: backups over 5 GB were listed twice."),
         ("1.4.6", "2023-10-17", "Asks only for access to its own files.")],
        tags="backup google-drive cloud", rating=3.9, platforms="unix windows"),
    package("s3-backup", "Backup to S3 Storage", "Plesk", PLESK, "backup",
        "Store backups in any bucket that speaks the S3 protocol.",
        "Works with the big cloud and with a machine in the cellar alike: endpoint, region, bucket and a key are all it takes. Backups "
        "are encrypted before they leave, and object lock keeps them from being deleted too early, even with the key in hand.",
        [("2.1.0", "2024-09-12", "Object lock.", "The endpoint may have a path."),
         ("2.0.3", "2024-02-20", "Parallel parts for fast lines.", "Fixed: a plus sign in the key name was sent as a blank.")],
        tags="backup s3 object-storage", rating=4.2, platforms="unix windows", shots=("Connecting a bucket",)),
    package("onedrive-backup", "Backup to OneDrive", "Plesk", PLESK, "backup",
        "Store backups of subscriptions in OneDrive, private or business.",
        "Each customer connects an account of their own; the administrator sees only how full it is.",
        [("1.4.2", "2024-03-28", "Tells in advance when the next backup will not fit."), ("1.4.0", "2023-09-05", "Business accounts.")],
        tags="backup onedrive cloud", rating=3.6, platforms="unix windows"),
    package("granite-backup", "Granite Off-Site Backup", "Granite Vaults", "https://shop.granite-vaults.example/order/plesk", "backup",
        "Deduplicated, encrypted backups to a vault in another country.",
        "Files are cut into pieces where their content says so, and each piece is stored once per vault, whatever the file is called. "
        "The key stays on your server; print it, because nobody else has it. A monthly drill restores ten random files and "
        "compares them.\n\nVaults are in Reykjavík, Zürich and Łódź.",
        [("2.2.6", "2024-10-03", "The restore drill can be started by hand.", "A vault in Łódź."),
         ("2.2.0", "2024-05-16", "Pieces are compressed with Zstandard; old ones stay readable."),
         ("2.1.8", "2023-12-14", "Fixed: sparse files were restored full of zeros.")],
        tags="backup deduplication encryption", rating=4.7, shots=("Vault and its growth", "Result of a restore drill")),

    # Mail
    # Sold by Plesk with a vendor's bundle inside: the bundle's own buy_url must not turn the package into a vendor's one.
    package("kolab", "Kolab Groupware", "Kolab Systems", PLESK, "mail",
        "Calendars, address books, tasks and notes beside the mailboxes.",
        "Every mailbox of a domain grows a calendar, an address book, tasks and notes, in the browser and on phones by CalDAV, CardDAV and "
        "ActiveSync. Folders are shared with colleagues, free and busy times with everybody.\n\n"
        "Für Büros mit mehreren Standorten: Räume und Geräte lassen sich wie Kolleginnen und Kollegen einladen; überschneidet sich "
        "etwas, schlägt der Kalender die nächste freie Stunde vor.",
        [("17.4.2", "2024-07-23", "Invitations keep the time zone of the organiser.", "Rooms can refuse overlapping meetings."),
         ("17.4.0", "2024-02-29", "Shared notes.", "Fixed: birthdays on 29 February disappeared in other years."),
         ("17.3.5", "2023-09-12", "Faster first synchronisation of large address books.")],
        tags="groupware calendar contacts activesync", rating=3.8, shots=("Week view with two calendars", "Inviting a room"),
        bundle={
            "name": "Kolab with moving help", "contents": ["kolab", "mailbox import by our team"], "seats": [5, 25, 100],
            "buy_url": "https://shop.kolab-partner.example/plesk/moving-help",
        }),
    package("email-security", "Email Security", "Plesk", PLESK, "mail security",
        "Spam, virus and phishing filters for incoming and outgoing mail.",
        "Sets up the filters, teaches them from the folders people already sort their mail into, and shows per domain what was refused "
        "and why. Outgoing mail is counted, so a stolen password is noticed after dozens of messages, not after thousands.",
        [("1.8.0", "2024-08-08", "Limits for outgoing mail by hour and by recipient domain.", "Quarantine digest once a day."),
         ("1.7.4", "2024-03-14", "Signs with two DKIM keys while a key is being replaced."),
         ("1.7.1", "2023-11-02", "Fixed: allow lists were compared with upper and lower case.")],
        tags="spam phishing dkim", rating=4.1, shots=("Refused mail by reason",)),
    package("warden", "Warden Anti-Spam", "Danami", "https://shop.danami.example/warden?utm_source=plesk", "mail security",
        "Mail filtering with a setting for every domain and mailbox.",
        "Score thresholds, languages, attachments and senders can be set for the server, a domain or one mailbox; the nearest setting wins "
        "and the page says where it comes from. The mail log can be searched by sender, recipient, score and rule.",
        [("4.3.1", "2024-09-26", "The log search knows wildcards.", "Archives are opened up to three levels deep."),
         ("4.3.0", "2024-04-04", "Settings can be exported and imported.", "Neural scoring, off by default."),
         ("4.2.5", "2023-12-07", "Fixed: mailboxes with a plus address used the domain's settings.")],
        tags="spam virus mail-log", rating=4.6, shots=("Settings of a domain", "Searching the mail log")),
    package("spamexperts-extension", "SpamExperts Email Security", "SpamExperts", "https://shop.spamexperts.example/plesk", "mail",
        "Moves new domains behind a filtering service, MX records included.",
        "When a domain is created, it is registered with the filtering service and its MX records are changed; when it is removed, both "
        "are undone. Customers reach their quarantine from the panel without another password. A protection report lists domains "
        "whose records no longer point to the filter.",
        [("2.6.3", "2024-05-23", "Checks the MX records of all domains once a day."),
         ("2.6.0", "2023-10-05", "Secondary domains follow their main domain.", "Fixed: internationalised domains were sent undecoded.")],
        tags="spam mx filtering", rating=4, shots=("Domains and their protection",)),
    package("mail-archive", "Nordlicht Mailarchiv", "Nordlicht Software", "https://shop.nordlicht.example/mailarchiv/plesk", "mail",
        "Revisionssichere Archivierung aller ein- und ausgehenden E-Mails.",
        "Jede Nachricht wird beim Empfang und beim Versand kopiert, mit einem Zeitstempel versehen und verschlüsselt abgelegt, bevor sie "
        "im Postfach erscheint. Löschen lässt sie sich erst nach Ablauf der Frist, die für die Domain gilt.\n\n"
        "Die Suche findet auch Text in Anhängen. Prüferinnen und Prüfer erhalten einen Zugang, der nach vier Wochen von selbst endet; "
        "jeder Zugriff wird protokolliert. Für Betriebsräte: Postfächer lassen sich ganz oder nach Stichwort ausnehmen.",
        [("5.0.2", "2024-10-10", "Anhänge im Format ODT werden durchsucht.", "Behoben: Umlaute im Betreff fehlten im Export."),
         ("5.0.0", "2024-06-27", "Neues Ablageformat, rund 40 % kleiner.", "Fristen können je Domain verlängert, nie verkürzt werden."),
         ("4.8.1", "2024-01-11", "Export für die Außenprüfung (GoBD).")],
        tags="archiv compliance suche", rating=4.5, shots=("Suche über alle Postfächer", "Fristen je Domain")),

    # Search engines and visitors
    package("xovi", "SEO-Werkzeugkasten", "XOVI", PLESK, "seo-speed",
        "Rankings, Backlinks und Technik-Prüfung für jede Domain.",
        "Zeigt für jede Domain, mit welchen Begriffen sie gefunden wird, wie sich das über die Wochen ändert und welche Mitbewerber "
        "davor stehen. Eine technische Prüfung geht alle Seiten durch und ordnet die Funde danach, wie viel sie bringen: doppelte "
        "Titel, tote Links, zu große Bilder, fehlende Überschriften.\n\n"
        "Für Agenturen: Berichte mit eigenem Logo als PDF, jeden Montag automatisch per E-Mail.",
        [("2.3.9", "2024-09-19", "Mobile und Desktop-Ergebnisse getrennt.", "Behoben: Weiterleitungsketten zählten doppelt."),
         ("2.3.5", "2024-05-02", "Österreich und die Schweiz als eigene Märkte."),
         ("2.3.0", "2023-12-21", "Berichte mit eigenem Logo.", "Die technische Prüfung beachtet robots.txt.")],
        tags="seo rankings backlinks", rating=4, platforms="unix windows", shots=("Verlauf der Sichtbarkeit", "Funde nach Nutzen")),
    package("pagespeed-insights", "PageSpeed Insights", "Plesk", ABSENT, "seo-speed",
        "Measure how fast your pages load, and see what slows them down.",
        "Asks the public measuring service about each domain, for phones and for desktops, and keeps the results, so you see whether a "
        "change helped. Advice that can be followed on the server (compression, caching, HTTP/2) has a button.",
        [("1.4.4", "2024-08-01", "Keeps a year of results.", "Measures at most one domain a minute, as the service asks."),
         ("1.4.0", "2023-10-26", "Advice has buttons where the server can help.")],
        tags="speed lighthouse", rating=4.1, platforms="unix windows", shots=("A score and its history",)),
    package("sakura-analytics", "さくらアクセス解析", "桜ワークス", "https://shop.sakura-works.example/ja/plesk", "seo-speed",
        "Cookie を使わないアクセス解析。データはサーバーの外に出ません。",
        "ウェブサーバーのログから訪問者数、参照元、人気のページを集計します。ページにスクリプトを追加する必要はなく、Cookie も使いません。"
        "IP アドレスは日ごとに変わる鍵でハッシュ化され、保存されません。\n\n"
        "日本語、英語、中国語の画面に対応しています。レポートは CSV と PDF で書き出せます。😊",
        [("1.8.0", "2024-10-24", "元号での日付表示に対応しました。", "検索ボットの判定を改善しました。"),
         ("1.7.2", "2024-06-06", "修正：全角の検索語が文字化けする問題。"), ("1.7.0", "2024-01-18", "PDF レポート。")],
        tags="analytics アクセス解析", rating=4.4, shots=("一週間の訪問者", "参照元の一覧")),

    # Names
    package("slave-dns-manager", "Slave DNS Manager", "Plesk", ABSENT, "dns",
        "Keep secondary name servers in step with this server.",
        "Adds, changes and removes zones on BIND servers through rndc as they change here. A button compares all zones and repairs "
        "what differs.",
        [("1.9.2", "2024-06-13", "Catalog zones.", "Fixed: removed aliases stayed on secondary servers."),
         ("1.9.0", "2023-09-14", "Secondary servers over IPv6.")],
        tags="dns bind secondary", rating=4.2),
    package("route53", "Amazon Route 53", "Plesk", NULL, "dns",
        "Publish the zones of this server in Amazon Route 53.",
        "Zones are created, kept in step and removed with their domains. Changes are collected for a few seconds and sent together, so a "
        "new subscription costs one request. White-label name servers can be made from a reusable delegation set.",
        [("2.8.5", "2024-07-18", "Waits and tries again when the service is busy.", "CAA records."),
         ("2.8.1", "2024-01-09", "Keys may come from the role of the instance.")],
        tags="dns aws", rating=4.1, platforms="unix windows", shots=("Zones and their state",)),
    package("premium-dns", "Premium DNS", "Plesk", PLESK, "dns",
        "Anycast name servers with DNSSEC, managed from the panel.",
        "Zones are served from thirty places, signed and with their keys replaced in time. The registrar's DS record is watched, "
        "since a wrong one makes a domain disappear.",
        [("1.2.7", "2024-09-02", "Watches the DS record of each zone."), ("1.2.3", "2024-02-15", "HTTPS and SVCB records.")],
        tags="dns anycast dnssec", rating=4.3, platforms="unix windows", shots=("Answers by region",)),
    package("geo-dns", "Compass GeoDNS", "Compass Networks", "https://shop.compass-networks.example/geodns", "dns seo-speed",
        "Answer visitors with the nearest of your servers.",
        "Give a record several addresses and draw the regions they serve on a map. 🌍 Addresses that stop answering are taken out within "
        "thirty seconds and come back when they have been well for five minutes.",
        [("1.1.3", "2024-08-29", "Health checks over HTTPS with a chosen path."),
         ("1.1.0", "2024-03-07", "Regions can be drawn by hand.", "Fixed: Kiribati was in two regions.")],
        tags="dns geo failover", rating=4, shots=("Regions on the map",)),

    # Speed
    # The name of Plesk's shop in a query does not make it Plesk's offer.
    package("litespeed", "LiteSpeed Web Server", "LiteSpeed",
        "https://shop.litespeed.example/cart?panel=plesk&back=go.plesk.com", "seo-speed",
        "Replace Apache by a faster server that reads the same configuration.",
        "Installs beside Apache and takes over its ports; .htaccess files, PHP versions and log formats stay as they are. If something "
        "is not as expected, one click switches back within seconds. Cache plug-ins for common content systems are offered per site.",
        [("3.0.8", "2024-10-30", "HTTP/3 can be switched per domain.", "Switching back restores the nginx settings too."),
         ("3.0.5", "2024-06-18", "Cache plug-ins are installed on many sites at once.",
          "Fixed: rewrite rules with environment variables were skipped."),
         ("3.0.1", "2023-12-28", "Shows which .htaccess lines have no effect.")],
        tags="web-server cache http3", rating=4.6, shots=("Switching servers", "Cache of a site")),
    package("site-speed-kit", "Speed Kit", "Plesk", PLESK, "seo-speed",
        "Page cache, picture shrinking and preloading with one switch.",
        "Tries each measure on a copy of the answer first and keeps it only if the page stays the same and gets faster. What was "
        "done, and how much it brought, is listed per domain.",
        [("1.3.3", "2024-10-08", "AVIF pictures for browsers that take them."),
         ("1.3.0", "2024-04-18", "Measures are tried before they are kept.", "Logged-in visitors never get a cached page.")],
        tags="cache images speed", rating=3.9, shots=("What each measure brought",)),

    # The server
    package("plesk-multi-server", "Plesk Multi Server", "Plesk", PLESK, "server-tools",
        "One login for customers whose subscriptions live on many servers.",
        "A management node knows the service nodes, places new subscriptions on the least loaded one and sends people to the right "
        "server when they sign in. Plans are kept in one place. A node that does not answer is skipped; its customers see a notice "
        "instead of an error.",
        [("1.5.6", "2024-05-09", "Nodes can be drained before maintenance.", "Placement looks at disk space as well as load."),
         ("1.5.2", "2023-11-16", "Fixed: renamed plans were created a second time on the nodes.")],
        tags="cluster nodes", rating=3.7, shots=("Nodes and their load", "Draining a node")),
    package("panel-migrator", "Plesk Migrator", "Plesk", EMPTY, "migration server-tools",
        "Move subscriptions here from another server or another panel.",
        "Connects to the old server, shows what will move and what will not, and copies in the background while the sites stay online. "
        "A last run before the DNS change copies only what is new. Differences found afterwards are listed per site.",
        [("2.25.1", "2024-10-11", "Mail passwords are moved without being reset, where the old panel allows it.",
          "Fixed: forwarders to themselves were copied."),
         ("2.25.0", "2024-07-25", "Before moving, checks PHP versions used by the sites.", "Copies several sites at a time."),
         ("2.24.2", "2024-02-08", "Fixed: the last run copied caches again.")],
        tags="migration transfer", rating=4.3, platforms="unix windows", shots=("What will move", "Copying in the background"),
        translations={
            "pl-PL": "Przenieś subskrypcje z innego serwera lub panelu. Strony pozostają dostępne podczas kopiowania.",
            "es-ES": "Traiga sus suscripciones desde otro servidor o panel. Los sitios siguen en línea durante la copia. ¡Así de fácil!",
        }),
    package("monitoring", "Monitoring", "Plesk", NULL, "server-tools",
        "Load, memory, disk and services over time, with alarms.",
        "A month of measurements at a glance and alarms by mail when a limit is crossed for longer than you allow. The services that "
        "caused a peak are named. Data can be read by Prometheus.",
        [("2.9.0", "2024-09-30", "Limits may depend on the time of day.", "Steal time of virtual machines."),
         ("2.8.6", "2024-03-21", "Fixed: disks mounted twice were counted twice.")],
        tags="metrics alarms", rating=4.4, shots=("A day with a peak",)),
    package("log-browser", "Log Browser", "Plesk", ABSENT, "server-tools developer-tools",
        "Read the logs of web, mail and panel together, as they grow.",
        "Picks a time span from all logs at once, marks errors and follows one request through them.",
        [("1.6.4", "2024-06-03", "Compressed old logs are searched too."), ("1.6.0", "2023-08-31", "Follows mail by its queue number.")],
        tags="logs search", rating=4.5),
    package("repair-kit", "Repair Kit", "Plesk", EMPTY, "server-tools",
        "Finds and mends common faults, even when the panel does not open.",
        "A page of its own that works without the panel's database: file permissions, web server configuration, disk space, stuck "
        "processes. Each repair shows first what it will change.",
        [("1.3.0", "2024-04-25", "Repairs show their changes first."), ("1.2.5", "2023-10-19", "Works with the database stopped.")],
        tags="repair diagnosis", rating=4.2, shots=("Checks and their results",)),
    package("uptime-lantern", "Uptime Lantern", "Lantern Labs", "https://shop.lantern-labs.example/plesk/uptime", "server-tools",
        "Watches your sites from outside and keeps a public status page. 🏮",
        "Five places around the world look at each site every minute; an alarm needs three of them to agree. The status page lives on "
        "another network, so it stays up when your server does not.",
        [("1.9.1", "2024-07-11", "Status pages in right-to-left languages: עברית, العربية.",
          "Certificates near their end are reported."),
         ("1.9.0", "2024-02-01", "Alarms by SMS.", "Planned maintenance silences alarms.")],
        tags="uptime status-page alarms", rating=4.5, shots=("A public status page",)),
]

# Code, name, description and the codes of the top packages; None leaves the member out.
CATEGORIES = [
    ("cms", "Websites & CMS", "Build websites and look after them.", "wp-toolkit joomla-toolkit softaculous sitepad"),
    ("security", "Security", "Certificates, firewalls, scanners.", "imunify360 letsencrypt kernelcare-plesk juggernaut revisium-antivirus"),
    ("backup", "Backup", "Copies in a safe place.", "acronis-backup s3-backup granite-backup google-drive-backup"),
    ("mail", "Mail & Groupware", "Filters, archives, calendars.", "email-security warden kolab spamexperts-extension mail-archive"),
    ("developer-tools", "Developer Tools", "Languages, containers, deployment.", "docker git nodejs composer ruby"),
    ("seo-speed", "SEO & Speed", "Be found, and don’t keep visitors waiting.",
     "xovi pagespeed-insights site-speed-kit litespeed sakura-analytics"),
    ("dns", "DNS", "Zones on more than one server.", "premium-dns route53 slave-dns-manager geo-dns"),
    ("server-tools", "Server Tools", "For the people who run the machine.",
     "monitoring plesk-multi-server kernelcare-plesk log-browser uptime-lantern panel-migrator"),
    ("authentication", "Authentication", "Who may come in, and how.", ""),
    ("migration", "Migration", "Move in from elsewhere.", None),
]

ICON = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64" role="img" aria-label="Extension">
  <defs>
    <linearGradient id="g" x1="0" y1="0" x2="0" y2="1">
      <stop stop-color="#5b7fa6"/>
      <stop offset="1" stop-color="#3d5a80"/>
    </linearGradient>
  </defs>
  <rect width="64" height="64" rx="14" fill="url(#g)"/>
  <path fill="#fff" d="M17 25h9.5a6 6 0 1 1 11 0H47v9.5a6 6 0 1 0 0 11V49H17z"/>
</svg>
"""

META_XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<module>
  <id>sample-extension</id>
  <name>Sample extension</name>
  <description>Stands for every download of the catalog-proxy demo. It does nothing.</description>
  <category>server</category>
  <version>1.0.0</version>
  <release>1</release>
  <vendor>catalog-proxy demo</vendor>
  <plesk_min_version>18.0.52</plesk_min_version>
</module>
"""


def categories():
    """Returns the categories feed, its top packages taken from PACKAGES."""
    by_code = {element["code"]: element for element in PACKAGES}
    members = ("code", "name", "icon_url", "buy_url")
    feed = []
    for position, (code, name, description, top) in enumerate(CATEGORIES, 1):
        category = {"code": code, "name": name, "description": description, "position": position}
        if top is not None:
            category["top_packages"] = [{m: by_code[c][m] for m in members if m in by_code[c]} for c in top.split()]
        feed.append(category)
    return feed


def php_json_encode(value):
    """Returns the bytes of PHP's json_encode with its default flags.

    Python escapes the same characters, except the slash. Two differences do not occur in the data: PHP writes 4.0 as 4, and an
    empty dict as [].
    """
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode("ascii")


def archive(name, text):
    """Returns a zip with one stored file; the fixed date, host system and mode keep it the same everywhere."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as out:
        out.writestr(entry, text)
    return buffer.getvalue()


def main():
    for name, content in {
        "packages.json": php_json_encode(PACKAGES),
        "categories.json": php_json_encode(categories()),
        "icon.svg": ICON.encode("ascii"),
        "download.zip": archive("meta.xml", META_XML),
    }.items():
        (HERE / name).write_bytes(content)
        print(f"{len(content):>8} {name}")


if __name__ == "__main__":
    main()
