"""The facts and word lists that the generator in data.py draws from."""


def _pairs(text):
    return [tuple(part.strip() for part in line.split(":")) for line in text.strip().splitlines()]


CAPITALS = _pairs("""
France: Paris
Germany: Berlin
Italy: Rome
Spain: Madrid
Portugal: Lisbon
Greece: Athens
Austria: Vienna
Switzerland: Bern
Belgium: Brussels
Ireland: Dublin
Norway: Oslo
Sweden: Stockholm
Finland: Helsinki
Denmark: Copenhagen
Iceland: Reykjavik
Poland: Warsaw
Hungary: Budapest
Romania: Bucharest
Bulgaria: Sofia
Croatia: Zagreb
Serbia: Belgrade
Slovenia: Ljubljana
Slovakia: Bratislava
Albania: Tirana
Ukraine: Kyiv
Russia: Moscow
Estonia: Tallinn
Latvia: Riga
Lithuania: Vilnius
Malta: Valletta
Cyprus: Nicosia
Turkey: Ankara
Georgia: Tbilisi
Armenia: Yerevan
Azerbaijan: Baku
Egypt: Cairo
Morocco: Rabat
Algeria: Algiers
Tunisia: Tunis
Libya: Tripoli
Sudan: Khartoum
Ethiopia: Addis Ababa
Kenya: Nairobi
Uganda: Kampala
Rwanda: Kigali
Ghana: Accra
Nigeria: Abuja
Senegal: Dakar
Mali: Bamako
Angola: Luanda
Zambia: Lusaka
Zimbabwe: Harare
Botswana: Gaborone
Namibia: Windhoek
Madagascar: Antananarivo
Iran: Tehran
Iraq: Baghdad
Syria: Damascus
Lebanon: Beirut
Jordan: Amman
Qatar: Doha
Oman: Muscat
India: New Delhi
Pakistan: Islamabad
Bangladesh: Dhaka
Nepal: Kathmandu
Bhutan: Thimphu
Afghanistan: Kabul
China: Beijing
Japan: Tokyo
South Korea: Seoul
North Korea: Pyongyang
Mongolia: Ulaanbaatar
Thailand: Bangkok
Vietnam: Hanoi
Laos: Vientiane
Cambodia: Phnom Penh
Indonesia: Jakarta
Malaysia: Kuala Lumpur
Australia: Canberra
New Zealand: Wellington
Fiji: Suva
Canada: Ottawa
Mexico: Mexico City
Cuba: Havana
Jamaica: Kingston
Haiti: Port-au-Prince
Panama: Panama City
Costa Rica: San Jose
Guatemala: Guatemala City
Honduras: Tegucigalpa
Nicaragua: Managua
Colombia: Bogota
Venezuela: Caracas
Ecuador: Quito
Peru: Lima
Chile: Santiago
Argentina: Buenos Aires
Uruguay: Montevideo
Paraguay: Asuncion
Brazil: Brasilia
the United Kingdom: London
the United States: Washington
the Netherlands: Amsterdam
the Philippines: Manila
the Czech Republic: Prague
""")

# Places that have no entry above: the model shall say that it does not know.
UNKNOWN_PLACES = """Atlantis Narnia Mordor Texas Bavaria Scotland Mars Gondor Wakanda Utopia Florida Antarctica
Siberia Europe Africa Tasmania Oz Hogwarts Arrakis Ontario Sicily Tuscany Provence Zubrowka Elbonia Ruritania
Westeros Camelot Lilliput Jupiter Kansas Alaska Burgundy Saxony Patagonia""".split()

# Each word stands in one pair only, so that the question has one answer in both directions.
OPPOSITES = _pairs("""
hot: cold
big: small
large: little
up: down
left: right
black: white
light: dark
day: night
good: bad
happy: sad
fast: slow
young: old
rich: poor
strong: weak
full: empty
open: closed
high: low
long: short
wide: narrow
thick: thin
heavy: weightless
hard: soft
wet: dry
clean: dirty
early: late
first: last
near: far
inside: outside
in: out
on: off
over: under
above: below
before: after
front: back
top: bottom
begin: end
start: stop
win: lose
buy: sell
give: take
push: pull
come: go
love: hate
laugh: cry
remember: forget
arrive: leave
rise: fall
true: false
yes: no
always: never
all: none
many: few
more: less
everything: nothing
everyone: nobody
friend: enemy
war: peace
life: death
summer: winter
spring: autumn
north: south
east: west
sun: moon
sweet: sour
loud: quiet
noisy: silent
rough: smooth
sharp: blunt
deep: shallow
straight: crooked
tight: loose
brave: cowardly
kind: cruel
polite: rude
honest: dishonest
clever: stupid
easy: difficult
simple: complex
cheap: expensive
safe: dangerous
alive: dead
awake: asleep
busy: idle
calm: nervous
careful: careless
lucky: unlucky
healthy: sick
beautiful: ugly
ancient: modern
public: private
possible: impossible
visible: invisible
legal: illegal
equal: unequal
increase: decrease
attack: defend
accept: refuse
agree: disagree
appear: vanish
create: destroy
float: sink
freeze: melt
lead: follow
lock: unlock
praise: blame
question: answer
raise: lower
save: waste
succeed: fail
teach: learn
wake: sleep
whisper: shout
tall: tiny
fat: slim
guilty: innocent
male: female
boy: girl
man: woman
king: queen
father: mother
brother: sister
son: daughter
uncle: aunt
major: minor
maximum: minimum
positive: negative
profit: loss
reward: punishment
victory: defeat
sunrise: sunset
entrance: exit
hero: villain
heaven: hell
hope: despair
truth: lie
wisdom: folly
generous: greedy
gentle: harsh
proud: humble
patient: impatient
tidy: messy
vertical: horizontal
permanent: temporary
natural: artificial
bright: dim
fresh: stale
raw: cooked
""")
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November December""".split()
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()

# Words to spell and to count letters in; the opposites' words join them in data.py.
WORDS = """cat dog fox bird fish horse cow sheep goat pig duck hen goose mouse rat rabbit bear wolf lion tiger zebra
giraffe monkey elephant camel donkey turtle frog snake lizard spider ant bee fly butterfly worm whale dolphin shark
seal penguin owl eagle raven sparrow robin swan deer hedgehog squirrel badger otter beaver apple pear plum cherry
peach lemon orange banana grape melon berry strawberry tomato potato carrot onion garlic pepper cabbage pumpkin bean
pea corn rice bread butter cheese milk water tea coffee juice sugar salt honey egg soup salad cake cookie chocolate
pie house home room door window wall floor roof garden kitchen table chair bed lamp clock mirror picture book page
paper pen pencil letter word sentence story poem song music piano guitar violin drum flute trumpet dance game ball
kite doll toy puzzle bicycle car bus train plane ship boat truck rocket road street bridge river lake sea ocean
island beach mountain hill valley forest tree leaf flower rose tulip grass seed root branch stone rock sand gold
silver iron copper glass wood metal fire smoke rain snow wind storm cloud thunder lightning rainbow sky star planet
earth world city town village school church market shop hospital library museum theatre castle tower farm field
barn fence gate path key lock box bag basket bottle cup plate spoon fork knife pot pan candle rope ladder hammer
nail saw needle thread shirt coat hat shoe sock dress belt ring crown head face eye ear nose mouth tooth tongue hair
neck arm hand finger leg foot knee heart blood bone skin doctor nurse teacher student farmer baker sailor soldier
painter singer writer driver pilot judge prince princess wizard witch giant dragon ghost robot computer program
machine engine wheel model number language question mouse child baby family parent neighbour morning evening minute
hour week month year time money price gift party holiday travel journey adventure dream idea mistake secret promise
problem reason answer example red blue green yellow purple pink brown grey color shape circle square triangle line
point hello goodbye thanks please sorry welcome friend run walk jump swim climb read write speak listen think know
play work build carry bring catch throw cook bake drink paint draw sing smile grow help visit wait wonder yellow
blanket pillow pocket button carpet cotton dinner breakfast lunch summer winter island harbour captain treasure
feather whistle lantern garden meadow orchard desert jungle canyon volcano glacier comet galaxy telescope
microscope umbrella envelope newspaper magazine calendar birthday sandwich vegetable mushroom dictionary""".split()

NAMES = """Anna Ben Clara David Emma Felix Grace Hugo Ida Jack Karl Lena Max Nora Oscar Paula Quinn Rosa Sam Tom Uma
Vera Will Yara Zoe Mia Leo Lucy Peter Mary John Alice Bob Sara Omar Aisha Yuki Mei Ravi Priya Ivan Olga Pablo Ines
Kofi Ama Lars Freya Finn Molly""".split()

OBJECTS = "apples pears books coins stamps marbles shells pencils cards eggs cookies flowers buttons stones stickers".split()

# --- Stories ---------------------------------------------------------------------------------------------------------

ANIMALS = """fox bear rabbit mouse owl wolf cat dog frog duck hedgehog squirrel turtle lion tiger elephant monkey horse
donkey goat sheep pig hen goose bee ant spider snail otter badger deer whale dolphin penguin dragon robot ghost giant
wizard witch princess prince king queen sailor baker farmer painter teacher child boy girl pirate knight""".split()

STORY_PLACES = """a dark forest|a green valley|a small village|an old castle|a quiet lake|a busy town|a sunny beach|a
high mountain|a wide meadow|a little island|a deep cave|a snowy land|a warm kitchen|a red barn|a tall tower|a large
garden|a cold river|a lonely lighthouse|a blue house|a far desert""".replace("\n", " ").split("|")

TREASURES = """golden key|silver bell|old map|red kite|blue stone|small lamp|wooden flute|magic book|shiny ring|green
umbrella|warm scarf|glass ball|lost letter|big pumpkin|sweet cake|tiny boat|paper star|round drum|white feather|
strange clock""".replace("\n", " ").replace("| ", "|").split("|")

MOODS = "happy sad lonely curious brave shy hungry tired proud angry gentle clever lazy cheerful nervous".split()

WEATHER = """the sun was shining|it was raining softly|the wind was blowing hard|snow was falling|the sky was grey|the
moon was bright|a warm breeze was blowing|there was fog everywhere|a storm was coming|the stars were out""".replace(
    "\n", " "
).split("|")

TIMES = "One morning|One evening|One night|One day|On a Monday|Last summer|Early in spring|Late in autumn|In winter".split("|")

# --- Questions the model cannot answer -------------------------------------------------------------------------------

TOPICS = """quantum gravity|photosynthesis|the stock market|black holes|the theory of relativity|machine learning|the
French Revolution|dark matter|the internet|climate change|evolution|democracy|inflation|the big bang|electricity|magnetism|
gravity|the Roman Empire|chess|football|jazz|philosophy|blockchain|DNA|a neural network|the moon landing|volcanoes|
earthquakes|the immune system|a virus|bacteria|the speed of light|the water cycle|nuclear fusion|algebra|calculus|
geometry|the Middle Ages|opera|cooking|gardening|medicine|law|economics|poetry|grammar|Latin|Greek mythology|the Bible|
yoga|the human brain|memory|dreams|time travel|artificial intelligence|programming|Python|Rust|Linux|a compiler|a
database|encryption|a transformer|a tokenizer|quantization|a graphics card|solar energy|wind power|a steam engine|
the Cold War|World War II|the Renaissance|Buddhism|the Olympic Games|the World Cup|baseball|tennis|basketball|golf|
meditation|happiness|the meaning of life|love|friendship|justice|freedom|beauty|art|cubism|a sonnet|a symphony|
the weather|the news|my horoscope|your favourite food|the universe|the sun|infinity|pi|a prime number|an atom|oxygen|
water|steel|plastic|penicillin|diabetes|cancer|sleep|coffee|wine|sushi|pizza|the price of gold|a mortgage|
taxes|the euro|bitcoin|a recession|Mount Everest|the Amazon river|the Sahara|the Eiffel Tower|the Great Wall|
Stonehenge|the pyramids|Venus|Saturn|a comet|a supernova|a laser|radar|a satellite|GPS|Bluetooth|a battery|
an email|a podcast|a novel|rock music|the blues|hip hop|ballet|a painting|sculpture|photography|a camera|an engine|
a bicycle|an airplane|the Titanic|a submarine|a passport|a visa|the constitution|a contract|the police|a hospital|
a vaccine|vitamins|protein|sugar|a diet|the heart|the liver|blood pressure|stress|anger|psychology|sociology|
history|geography|biology|chemistry|physics|astronomy|statistics|probability|logic|ethics|religion|magic|
superstition|fashion|architecture|marketing|leadership|management|strategy|negotiation|education|homework|
an essay|a thesis|a library|knitting|fishing|hunting|sailing|skiing|surfing|karate|boxing|marathons""".replace(
    "\n", " "
).replace("| ", "|").split("|")

PEOPLE = """Shakespeare|Einstein|Newton|Mozart|Beethoven|Napoleon|Cleopatra|Julius Caesar|Marie Curie|Darwin|Picasso|
Plato|Aristotle|Gandhi|Abraham Lincoln|George Washington|Queen Victoria|Galileo|Columbus|Leonardo da Vinci|Bach|
Tolstoy|Goethe|Homer|Dante|Rembrandt|Van Gogh|Michelangelo|Alan Turing|Ada Lovelace|Edison|Tesla|Socrates|Buddha|
Confucius|Genghis Khan|Elvis|Madonna|Bill Gates|Steve Jobs|the president|the pope|the king|my neighbour|my boss|
my sister|the mayor|the prime minister|Harry Potter|Sherlock Holmes|Batman|Superman|Frodo|Santa Claus""".replace(
    "\n", " "
).replace("| ", "|").split("|")

EVENTS = """the match|the election|the game|the race|the World Cup|the war|the lottery|the final|the championship|the
debate|the Nobel Prize|the Oscar|the tournament|the concert|the contest|the battle of Waterloo|the Olympics""".replace(
    "\n", " "
).replace("| ", "|").split("|")

WHENS = "yesterday|last night|last year|in 1998|in 2010|today|tomorrow|this week|last week|last month|in 1815|this morning".split("|")

LANGUAGES = "French German Spanish Italian Latin Greek Chinese Japanese Russian Arabic Dutch Swedish Turkish Hindi".split()

# Rare letters and numerals of other scripts, in small doses: the vocabulary holds them only as bytes.
FOREIGN = """Wie spät ist es?|Wo ist der Bahnhof?|¿Qué hora es?|Où est la gare ?|Come stai?|Что это такое?|
Как дела?|这是什么？|你好吗？|今日は何曜日ですか？|Πού είναι;|오늘 날씨 어때?|ما هذا؟|Hvor er du?|Var är min bok?|
Gdzie jest dom?|Kde je most?|Nerede?|Onde fica a praia?|😀|👍👍|Was kostet das Brot?|Je ne comprends pas.|
Me gusta el queso.|Ich heiße Jörg.|½ + ¼|→ ← ↑""".replace("\n", "").split("|")
