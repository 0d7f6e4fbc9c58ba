"""Words that are not names alone, or that are also ordinary words; all in lower case without diacritics."""


def words(*lines: str) -> frozenset[str]:
    """Return the words of several lines as a set."""
    return frozenset(word for line in lines for word in line.split())


TITLES = words(
    "dr dra drs dres med dent univ habil dipl ing phil rer nat priv doz pd prof professor professeur professore md",
    "phd msc bsc mbbs frcr frcp facc rn np esq hon rev sir dame mr mrs ms miss mx master herr herrn frau hr fr",
    "fraulein monsieur madame mademoiselle mme mlle mmes messrs senor senora senorita sr sra srta don dona sig sigra",
    "signor signora signore signorina dott dottssa dottor dottoressa jr ii iii iv doctor docteur",
)

PARTICLES = words(
    "the and of von vom van der den dem de la le les los las del della delle dello dalla di da do dos du des el al",
    "bin ben ibn abu bint zu zum zur ter ten te y e i und et af av st ste san santa saint mc mac fitz d o l",
)

BRIDGES = PARTICLES - words("the and of y e i und et d o l")
"""Particles that join parts of a name even where a header leaves them out."""

NOT_NAMES = words("no not none male female unknown anonymous patient self")

COMMON = words(
    # English words that are also names
    "an in on so he be us see say her him max min van ho to go you my me it is at as or by than will may mark bill",
    "long short heart young old brown black white green gray grey king day rose hope grace faith frank grant chance",
    "drew art ray dean pat sue rob nick jack guy gene penny ivy lily violet olive pearl ruby amber crystal dawn eve",
    "june april august summer autumn winter spring sunny hand foot head bone chest arm back neck stone wood field",
    "hill lake rivers brook banks church park street house hall wall bridge ford mills baker cook butler carter",
    "farmer fisher hunter porter potter mason page wise good best noble strong power swift sharp moody savage rich",
    "poor small little large low high bright dark light love joy price cash gold silver steel bell ball ring cross",
    "star moon sun snow frost rain storm fox wolf bird swan crane drake lamb bull buck hawk finch wren bush reed",
    "flowers berry rice bean pepper salt sage basil ginger root branch leaf marsh moss heath glen dale west east",
    "north south man child son major minor general sergeant knight bishop pope abbot monk judge law case post cord",
    "block burn burns pain hurt cure downs wells waters walker turner rounds sterling early friday monday weeks years",
    "times close clear bare free even sound wide deep lower upper mild rest still bowel lung liver mass held left",
    "right tube line film study view normal stable acute march test plain core wedge apex stem band loop node cyst",
    "plate lead leads stent graft valve shunt drain pace axis wave beat rate mean loss gain rise fall raised noted",
    "seen done made given taken other another both each more most less least alert awake better worse first last next",
    "second third one two three four five six seven eight nine ten",
    # German ones
    "gross klein kleine lang lange kurz kurze schwarz weiss braun roth rot gut alt jung neu neumann stark frei ernst",
    "fromm hart hell klug krause reich sauer scharf schnell schon still stolz wild zart kalt warm hoch tief breit eng",
    "dick dunn voll leer links rechts oben unten vorn mitte berg bach wald busch stein vogel konig kaiser koch sommer",
    "sonntag montag freitag herbst morgen abend mai marz sturm brand kraft macht kern horn",
    "petit grand gros bon blanc noir roux rouge brun vert jeune vieux leger fort court rey bueno blanco negro rubio",
    "moreno delgado gordo bravo calvo leon cruz rosa luz flor pilar dolores angeles mar sol cielo alba aurora",
    "consuelo remedios amparo nieves piedad soledad grande bianco nero rossi bruno gallo costa monte villa longo",
    "basso alto forte grasso magro corto",
)

NOUNS = words(
    "herz kopf bauch bein arm hand hals brust stein auge ohr zahn haut blut fuss finger knie rippe wirbel niere lunge",
    "leber darm magen galle milz nerv muskel sehne knochen hirn fieber husten schmerz schall spiegel winkel schatten",
    "befund arzt kranke sonde naht narbe",
)
"""German nouns of medicine, which are always capitalised."""

ACRONYMS = words(
    "ct mr ap pa la ra lv rv lad rca lcx ed er or icu ng iv im po bp hr ef st qt pr ecg ekg mi pe dvt us pet ai as ms",
    "mv av al ca cn co cp dm hf pt ot rn md do id re sat bed cvp ett fev gcs hb inr lab ldh mri cxr nad opd pcp pfa",
    "rbc sob svc ivc tia tlc tpn uti wbc bmi bal bnp bun crp csf cva dic dob eeg emg esr ga hcg hit hiv ica ii iii vi",
    "sa sv tr ts ar pfo asd vsd ava avr avl avf ant lat sup inf max min med",
)
"""Upper-case abbreviations that are also short names."""
