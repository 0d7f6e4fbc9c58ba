"""Words to recognise names that no header gives: given names, roles, verbs of people; and words that are not names.

Given names are frequent ones of English-, German-, French-, Spanish- and Italian-speaking countries, without those that
are ordinary words too. All words are in lower case without diacritics.
"""

from polyclinic.privacy.words import words

GIVEN = words(
    "james robert john michael david william richard joseph thomas charles christopher daniel matthew anthony donald",
    "steven andrew paul joshua kenneth kevin brian george timothy ronald jason edward jeffrey ryan jacob nicholas",
    "eric jonathan stephen larry justin scott brandon benjamin samuel gregory alexander patrick raymond jerry tyler",
    "dennis aaron jose adam nathan henry douglas zachary peter kyle noah ethan jeremy walter christian keith roger",
    "terry austin sean gerald carl dylan harold jordan jesse bryan lawrence arthur gabriel bruce logan billy joe alan",
    "elijah juan albert willie wayne randy vincent philip bobby johnny mason oliver harry stuart ian graham nigel",
    "colin gareth simon neil derek clive trevor geoffrey mary patricia jennifer linda elizabeth barbara susan jessica",
    "karen sarah lisa nancy sandra betty ashley emily kimberly margaret donna michelle carol amanda melissa deborah",
    "stephanie rebecca sharon laura cynthia dorothy amy kathleen angela shirley emma brenda pamela nicole anna",
    "samantha katherine christine debra rachel carolyn janet maria olivia heather helen catherine diane julie",
    "victoria joyce lauren kelly christina ruth joan virginia judith evelyn hannah andrea megan cheryl jacqueline",
    "madison teresa abigail sophia martha sara gloria janice kathryn ann isabella judy charlotte julia sophie lucy",
    "chloe fiona alison gillian hilary maureen eileen doreen sheila beryl edith ethel mildred harriet beatrice hans",
    "peter klaus wolfgang jurgen dieter manfred uwe gunter horst bernd werner helmut gerhard heinz karl karlheinz",
    "rolf rainer frank thomas andreas stefan stephan michael matthias markus martin christoph jens jorg jochen ralf",
    "holger torsten thorsten dirk sven lars kai olaf volker norbert reinhard hartmut siegfried gottfried friedrich",
    "heinrich hermann otto erich kurt rudolf ludwig johann johannes josef franz georg anton alfred wilhelm eberhard",
    "eckhard ulrich walter gerd gunther burkhard detlef joachim hubert lothar egon erwin tobias sebastian florian",
    "fabian felix lukas leon jonas maximilian moritz philipp tim niklas paul jan finn ursula monika petra sabine",
    "renate helga karin brigitte ingrid erika gisela christa elke angelika gabriele heike barbara andrea claudia",
    "susanne birgit martina silke anja kerstin katrin kathrin tanja nicole stefanie sandra daniela bettina ute anke",
    "heidi hannelore waltraud irmgard gertrud elfriede hildegard ilse edeltraud roswitha lieselotte annemarie",
    "rosemarie margarete johanna elisabeth katharina charlotte annette antje astrid sigrid gudrun doris dagmar",
    "cornelia marion iris jutta sonja ingeborg anneliese lina lena leonie mia jana wiebke  jean pierre michel andre",
    "philippe rene louis alain jacques bernard marcel daniel roger robert claude christian henri francois georges",
    "gerard maurice paul joseph patrick lucien raymond nicolas christophe stephane laurent eric thierry olivier",
    "frederic julien sebastien david pascal bruno dominique guillaume antoine thomas alexandre maxime romain mathieu",
    "vincent benoit xavier yves guy gilles serge didier fabrice cedric arnaud jerome ludovic bertrand  baptiste theo",
    "hugo lucas enzo marie jeanne francoise monique catherine nathalie isabelle jacqueline anne sylvie martine",
    "madeleine nicole suzanne helene christine marguerite denise louise christiane yvonne valerie sandrine stephanie",
    "veronique sophie celine chantal patricia brigitte julie aurelie laurence corinne genevieve odette colette",
    "therese germaine camille manon lea clemence oceane ines mathilde margaux delphine virginie emilie antonio jose",
    "manuel francisco david juan javier daniel carlos jesus alejandro miguel rafael pedro angel pablo sergio fernando",
    "jorge luis alberto alvaro diego adrian raul ivan enrique ruben ramon vicente andres joaquin santiago victor",
    "eduardo mario roberto jaime ignacio salvador ricardo emilio julian guillermo tomas agustin gregorio felix",
    "esteban gonzalo nicolas hector cesar carmen josefa isabel dolores pilar teresa ana francisca laura cristina",
    "antonia marta lucia elena raquel concepcion manuela rosario mercedes juana beatriz encarnacion montserrat julia",
    "irene silvia patricia rocio nuria sonia susana yolanda margarita alba inmaculada angela ines ana eva natalia",
    "sofia esther lorena monica veronica amparo consuelo milagros  giuseppe giovanni antonio mario luigi francesco",
    "angelo vincenzo pietro salvatore carlo franco domenico bruno paolo michele giorgio aldo sergio luciano roberto",
    "marco andrea alessandro stefano massimo maurizio fabio claudio davide simone matteo lorenzo luca gabriele",
    "riccardo federico giulia francesca chiara sara martina valentina alessia silvia elisa giovanna rosa angela lucia",
    "caterina paola giuseppina rita daniela carla luisa alessandra patrizia antonella mohammed muhammad ahmed ali",
    "hassan hussein ibrahim omar yusuf mustafa abdullah abdul fatima aisha khadija zainab mehmet emine ayse hatice",
    "murat olga natasha irina tatiana dmitri sergei vladimir ivan piotr krzysztof agnieszka malgorzata katarzyna",
    "anjali rajesh sanjay wei li jing hiroshi yuki min-jun nguyen",
) - words(
    "may june april august mason guy bruno felix paul billy rosa wei li joe alba simone angel logan austin jordan jan",
)

EPONYMS = words(
    "parkinson hodgkin crohn basedow bechterew boeck alzheimer wilson whipple addison cushing graves hashimoto marfan",
    "raynaud sjogren wegener kawasaki meniere paget dupuytren fallot barrett zenker schatzki billroth murphy",
    "trousseau virchow homans babinski kerley swan ganz wolff white wenckebach mobitz luciani brugada holter doppler",
    "valsalva seldinger sokolow lyon cornell romhilt estes sgarbossa killip simpson glasgow cheyne stokes kussmaul",
    "meigs lofgren bochdalek morgagni chilaiditi ghon mantoux simon hickman foley broselow sengstaken trendelenburg",
    "bulau redon kartagener takotsubo bankart bennett colles smith hounsfield danzer lewis lown dressler eisenmenger",
    "ebstein ehlers danlos turner down klinefelter noonan leriche pancoast horner tietze caplan goodpasture churg",
    "strauss takayasu behcet charcot",
)

NO_NAMES = words(
    # pronouns, articles and other words that begin sentences
    "he she it they we you his her their our this that these those there here the a an and or but if when while after",
    "before since because as at by for from in into of on per to with without no not all any both each every some",
    "such er sie es wir ihr sein seine ihre der die das den dem des ein eine einer einem einen kein keine und oder",
    "aber wenn als am an auf aus bei bis durch fur gegen im in ins mit nach ohne seit um unter vom von vor wegen zu",
    "zum zur uber il elle ils elles on nous vous ce cet cette ces le la les un une des du de au aux et ou mais si",
    "dans par pour sans sous sur avec chez depuis apres avant pas son sa ses el ella ellos los las una unos unas lo y",
    "e o u pero con sin por para segun desde hasta entre sobre tras su sus al del no se ya muy mas lui lei loro gli",
    "uno della dei che non",
    # people that are not names
    "patient patients patientin patienten patiente paciente pacientes paziente pt pat mother father wife husband son",
    "daughter brother sister family doctor physician nurse team staff ward unit clinic hospital service department",
    "mutter vater ehefrau ehemann sohn tochter bruder schwester familie arzt arztin hausarzt station klinik",
    "krankenhaus abteilung praxis dienst labor notaufnahme intensivstation kollege kollegin kollegen chirurgie",
    "kardiologie radiologie innere medizin facharzt facharztin oberarzt oberarztin mere pere femme mari fils fille",
    "frere soeur famille medecin infirmier infirmiere hopital clinique urgences cardiologie radiologie chirurgie",
    "madre padre esposa marido hijo hija hermano hermana familia medico enfermero enfermera hospital clinica",
    "urgencias cardiologia radiologia cirugia planta torre cama bett zimmer bed room lit chambre salle sala",
    "consultant registrar fellow resident attending cardiologist radiologist surgeon anaesthetist anesthetist",
    "oncologist neurologist pulmonologist pathologist specialist cardiologue radiologue chirurgien anesthesiste",
    "cardiologo radiologo cirujano anestesista kardiologe radiologe chirurg general practitioner surgery cardiology",
    "radiology oncology pathology pharmacy physiotherapy emergency intensive care",
    # findings, organs, examinations, drugs and other words that such texts write with a capital
    "lung lungs heart chest abdomen pelvis brain spine liver spleen kidney bone bones aorta trachea bronchus pleura",
    "mediastinum hilum diaphragm effusion pneumothorax pneumonia edema oedema cardiomegaly consolidation atelectasis",
    "nodule mass fracture opacity infiltrate emphysema fibrosis granuloma stable unchanged normal abnormal mild",
    "moderate severe acute chronic new old prior previous comparison impression findings history indication technique",
    "conclusion exam study film image images view portable frontal lateral left right bilateral upper lower middle",
    "lobe base apex sinus rhythm rate axis interval wave segment block bundle branch atrial ventricular fibrillation",
    "flutter tachycardia bradycardia ischemia infarction infarct hypertrophy dilatation failure angina syncope",
    "dyspnea dyspnoe chest pain fever cough catheter tube line lead leads pacemaker drain stent graft valve echo",
    "holter monitor scan angiography imaging enterography angiogram mri ct xray radiograph ultrasound cardiac",
    "respiratory renal hepatic arterial venous heparin aspirin warfarin marcumar ramipril bisoprolol metoprolol",
    "furosemide amiodarone atropin clexane lasix lipitor herz lunge thorax kopf bauch becken leber milz niere magen",
    "darm gefass wirbel rippe erguss infiltrat stauung fieber husten schmerz schmerzen dyspnoe diabetes hypertonie",
    "krebs brustkrebs tumor befund beurteilung anamnese diagnose verdacht zustand kontrolle verlauf aufnahme",
    "entlassung verlegung untersuchung bild bilder rontgen thrombose embolie blutung fraktur narbe herd herde",
    "schatten zeichen syndrom morbus katheter sonde drainage punktion operation lyse vene arterie frequenz rhythmus",
    "linkstyp rechtstyp steiltyp indifferenztyp schrittmacher kontrastmittel bronchoskopie gase montag dienstag",
    "mittwoch donnerstag freitag samstag sonntag monday tuesday wednesday thursday friday saturday sunday lundi mardi",
    "mercredi jeudi vendredi samedi dimanche lunes martes miercoles jueves viernes sabado domingo january february",
    "march april may june july august september october november december januar februar marz mai juni juli oktober",
    "dezember janvier fevrier mars avril juin juillet aout septembre octobre novembre decembre enero febrero marzo",
    "abril mayo junio julio agosto septiembre octubre noviembre diciembre gennaio febbraio aprile maggio giugno",
    "luglio settembre ottobre dicembre winter summer spring autumn sommer fruhjahr herbst printemps ete primavera",
    "verano poumon poumons coeur silhouette epanchement opacite foyer pneumopathie radiographie echographie scanner",
    "cliche absence presence maladie signe rythme bloc hypertrophie sonde catheter corazon pulmon derrame placa ritmo",
    "bloqueo signo sindrome enfermedad hernia neumonia cardiomegalia radiografia ecografia tac control cita cuore",
    "polmone versamento north south east west royal saint infirmary university bad los san santa street road avenue",
    "seen was is were are has have had will reports reported states stated denies presents presented came for today",
    "now name date dob mrn age sex gender address phone fax tel report findings impression",
)

MEDICAL_ENDING = (
    r"(?:ungen|ung|heit|keit|tion|tionen|itis|itiden|aemie|amie|emia|emie|pathie|pathy|patia"
    r"|graphie|graphy|grafia|grafie"
    r"|gramm|gramme|skopie|scopy|scopie|scopia|ektomie|ectomy|ectomie|ectomia|therapie|therapy"
    r"|insuffizienz|insuffisance"
    r"|insufficiency|stenose|stenosis|stenoses|syndrom|syndrome|ology|ologie|ologia|itat|ismus|ysmus|osis"
    r"|werte|zeichen|schmerz|station|klinik|abteilung|leitung|hebung|senkung|erguss|krebs|karzinom"
    r"|carcinoma|oma|zustand)"
)

TITLES = (
    r"prof(?:essor(?:a|e)?|esseure?|\.ssa)?|dres|dr[ae]?s?|priv\.[ ]?-?doz|pd|mrs?|miss|herrn?|frau"
    r"|fräulein|monsieur|madame"
    r"|mademoiselle|mme|mlles?|messrs|señor(?:es|as|ita)?|señora|sra|srta|sres|doña|dña|sig\.?ra"
    r"|sig(?:nora?|nore|norina)?"
    r"|dott(?:\.?ssa|ore?|oressa)?|docteure?|doctora?|doctor|professeure?|nurse|sister|schwester|pfleger(?:in)?"
    r"|(?:l['’])?infirmi[eè]re?|enfermer[oa]|infermier[ea]|aide-soignante?|auxiliar|oberarzt"  # noqa: RUF001
    r"|oberärztin|chefarzt"
    r"|chefärztin|assistenzarzt|assistenzärztin|facharzt|fachärztin|stationsarzt|stationsärztin"
    r"|kolleg(?:e|en|in)|mtra?"
    r"|radiologin?|registrar|resident|interne|residente|médico|consultant|attending|intern|houseman|pharmacist|physio"
    r"|familie|family[ ]of|famille|familia"
)
TITLES_AS_WRITTEN = (
    r"M\.|MM\.|Mr|Mr\.|Ms|Ms\.|Pr|Pr\.|Prs?|Fr\.|Hr\.|Hrn\.|Sr\.?|Sres\.|D\.|Don|OA|OÄ|CA|AA|Sig\.|Pt\.?|Pat\."
)
KIN = (
    r"wife|husband|son|daughter|brother|sister|mother|father|partner|niece|nephew|aunt|uncle"
    r"|caregiver|carer|neighbou?r"
    r"|friend|ehefrau|ehemann|frau|mann|sohn|tochter|bruder|schwester|mutter|vater"
    r"|lebensgefährt(?:e|in)|nachbar(?:in)?"
    r"|partnerin|enkel(?:in)?|nichte|neffe|betreuer(?:in)?|femme|épouse|mari|époux|fils|fille|frère"
    r"|sœur|soeur|mère|père"
    r"|compagne|compagnon|voisine?|esposa|esposo|mujer|marido|hij[oa]|herman[oa]|madre|padre|pareja"
    r"|sobrin[oa]|vecin[oa]"
    r"|moglie|marito|figli[oa]|fratello|sorella|nipote|compagn[oa]"
)
LABELS = (
    r"(?:full|last|first|given|family|sur|maiden)?[ ]?names?|patient(?:in|e)?(?:[ ]name)?|paciente"
    r"|paziente|nom(?:[ ]de[ ]"
    r"(?:naissance|famille))?|prénoms?|nombres?|(?:primer|segundo)?[ ]?apellidos?|cognome|nome|vorname|nachname"
    r"|familienname|geburtsname|zuname|consultant|attending|surgeon|an(?:a)?esthetist|radiologist"
    r"|cardiologist|physician"
    r"|technologist|technician|radiographer|operator|provider|reader|referr(?:er|ing)|gp|contact|next[ ]of[ ]kin"
    r"|hausarzt|hausärztin|zuweiser(?:in)?|überweiser(?:in)?|radiolog(?:e|in)|kardiolog(?:e|in)"
    r"|operateur(?:in)?|anästhesie"
    r"|untersucher(?:in)?|befunder(?:in)?|diktat|unterschrift|ansprechpartner(?:in)?|verteiler"
    r"|begleitung|kontakt|arzt"
    r"|ärztin|stationsarzt|médecin(?:[ ]traitant)?|chirurgien(?:ne)?|anesthésiste|radiologue|cardiologue|opérateur"
    r"|manipulat(?:eur|rice)|chef[ ]de[ ]clinique|interne(?:[ ]de[ ]garde)?|destinataire"
    r"|personne[ ]de[ ]confiance|signé"
    r"|copie|médico(?:[ ]de[ ](?:familia|guardia|cabecera))?|ciruj?ano|cirujana|anestesista"
    r"|radiólog[oa](?:[ ]responsable)?"
    r"|cardiólog[oa]|técnico|técnica|persona[ ]de[ ]contacto|firmado|fdo\.?|facultativo"
    r"|medico(?:[ ]curante)?|chirurgo"
    r"|radiologo|firmato|referente|cc|c\.c\.|signed|vidiert|gezeichnet|gez\.?|seen[ ]by|ordering[ ]provider"
)
SIGNED = (
    r"gez\.|gezeichnet|i\.[ ]?a\.|i\.[ ]?v\.|ppa\.|signed|signé(?:e)?(?:[ ]par)?|fdo\.?"
    r"|firmado(?:[ ]por)?|firmato(?:[ ]da)?"
    r"|f\.to|mit[ ]freundlichen[ ]grüßen|freundliche[ ]grüße|mfg|viele[ ]grüße|hochachtungsvoll"
    r"|(?:kind|best|warm)[ ]regards"
    r"|regards|best[ ]wishes|yours[ ](?:sincerely|faithfully|truly)|sincerely|thank[ ]you|thanks"
    r"|(?:bien[ ])?cordialement"
    r"|bien[ ]confraternellement|confraternellement|salutations|un[ ]saludo|saludos|atentamente|cordialmente|atte\.?"
    r"|cordiali[ ]saluti|distinti[ ]saluti|dear|hi|hello|sehr[ ]geehrte[rn]?|liebe[rn]?|ch(?:er|ère)s?|estimad[oa]s?"
    r"|querid[oa]|egregi[oa]|gentile|car[oa]"
)
_BY_EN = (
    r"(?:seen|reviewed|read|reported|dictated|signed|performed|interpreted|verified|approved|inserted|placed|examined"
    r"|requested|ordered|referred|authori[sz]ed|transcribed|prepared|authenticated|explained"
    r"|carried|written|described"
    r"|recommended|supervised|assessed|evaluated|counselled|entered|typed)(?:[ ](?:today"
    r"|and[ ]signed|electronically))?[ ]by"
)
CUES = (
    rf"{_BY_EN}|(?:discussed|reviewed|agreed|spoke|seen|discussion|together|follow-up|examined"
    r"|conferred)(?:[ ]\w+){0,4}?"
    r"[ ]with|spoke[ ]to|telephoned[ ]to|phoned[ ]to|called[ ]to|communicated[ ]to"
    r"|handed[ ]over[ ]to|per|according[ ]to"
    r"|please[ ](?:call|page|bleep|contact)|(?:call|page|bleep|contact|inform|notify|informed"
    r"|notified)|the[ ]patient,|pt"
    r"|patient(?:in)?"
    r"|(?:befundet|diktiert|vidiert|freigegeben|unterschrieben|gesehen|durchgeführt|angelegt"
    r"|erstellt|gelegt|aufklärung"
    r"|untersuchung|punktion|beurteilt|überwiesen|veranlasst|verlegt)[ ](?:durch|von)"
    r"|(?:rücksprache|besprochen|visite|gespräch"
    r"|abgesprochen|konsil|telefonat|demonstriert)[ ]mit|(?:rückfrage|vorstellung)[ ]bei"
    r"|(?:telefonisch|weiter|befund)[ ]an"
    r"|anruf[ ]von|arztbrief[ ]von|befund[ ]von|laut|informiert|diktat"
    r"|(?:vu|vue|lu|lue|relu|relue|validé|interprété|dicté|signé|posé|réalisée?|adressée?|demandée?"
    r"|décrit|rédigé|examinée?"
    r"|transmis|explication|expliqué|lecture|effectuée?|prescrit)(?:[ ]\w+)?[ ]par|(?:discuté|vu"
    r"|vue|relue?|revoir|revu)[ ]"
    r"avec|auprès[ ]de|d['’]après|appel[ ]de|prévenir|appeler|courrier[ ]de|avis[ ]de|selon"  # noqa: RUF001
    r"|(?:visto|vista|leído|informado|informada|realizado|realizada|firmado|dictado|remitido"
    r"|remitida|solicitado|valorado"
    r"|descrito|colocado|revisado|revisada|explicado|interpretado|validado"
    r"|derivado)(?:[ ]\w+)?[ ]por|(?:comentado|revisado"
    r"|revisada|revisar|visto|hablado|consensuado)[ ]con|según|avisar[ ]a|llamar[ ]a"
    r"|interconsulta[ ]a|informe[ ]de|el[ ]"
    r"paciente,?|la[ ]paciente,?|paciente|paziente|la[ ]patiente|le[ ]patient,?|patiente"
    r"|(?:visto|vista|refertato|eseguito|firmato|dettato|inviato|richiesto|valutato)[ ](?:da|dal"
    r"|dalla)|discusso[ ]con"
)
PERSON_VERBS = (
    r"(?:has[ ]been|was|is|remains)[ ](?:\w+[ ])?(?:afebrile|apyretic|comfortable|alert|confused"
    r"|breathless|discharged|admitted"
    r"|transferred|extubated|intubated|mobilised|mobilized|seen|fit|brought|counselled"
    r"|asymptomatic)|walked|tolerated|declined"
    r"|declines|denies|denied|complains|complained|reports|reported|refuses|refused|sleeps|slept"
    r"|desaturated|vomited|agrees"
    r"|agreed|lives|worked|works|presented|presents|feels|wants|asked|asks|stated|states|says|understands|improved"
    r"|klagt|schläft|spricht|berichtet|lehnt|kommt|wurde[ ](?:\w+[ ])?(?:extubiert|intubiert|entlassen"
    r"|verlegt|aufgenommen|mobilisiert|aufgeklärt|informiert)|ist[ ](?:\w+[ ])?(?:fieberfrei"
    r"|beschwerdefrei|mobil|wach"
    r"|orientiert|stabil)|möchte|verneint|gibt[ ]an|isst|trinkt"
    r"|est[ ](?:\w+[ ])?(?:apyrétique|sorti|sortie|intubée?|stable|asymptomatique|confuse?"
    r"|hospitalisée?)|sera[ ]revue?|dort"
    r"|a[ ]bien[ ]toléré|refuse|se[ ]plaint|signale|souhaite|présente[ ]une|vit|nie"
    r"|refiere|acude|rechaza|duerme|permanece|toleró|tolera|niega|está[ ](?:\w+[ ])?(?:afebril"
    r"|intubad[oa]|estable|dormid[oa])"
    r"|será[ ](?:revisad|valorad|dad)[oa]|vive|quiere|riferisce|rifiuta|dorme|nega|lamenta"
)
DEGREES = (
    r"M\.?D\.?|D\.?O\.?|MBBS|MBChB|FRC[RPS]\w*|MRC[PS]\w*|FACC|FESC|Ph\.?D\.?|RN|R\.N\.|NP|PA-C"
    r"|CRNP|Facharzt|Fachärztin"
    r"|Oberarzt|Oberärztin|Consultant"
)
