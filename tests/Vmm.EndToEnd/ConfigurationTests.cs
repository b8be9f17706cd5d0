using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>Configuration files as their users have them: checked, shown, started.</summary>
public sealed partial class ConfigurationTests : IDisposable
{
    private const string Schema = "docs/vmm.schema.json";

    private static readonly string[] Commands = ["run", "boot", "serve"];

    private readonly ScratchDirectory _scratch = new();

    [Theory]
    [InlineData("reactors = 2\nreactor = 3\n[[rng]]\nsocket = 's'", "3:1: unknown name 'reactor' for 'vmm serve': did you mean 'reactors'?")]
    [InlineData("[[disk]]\nsocket = 's'\npath = 'p'\nqueue = 4", "5:1: unknown name 'queue' for 'disk': did you mean 'queues'?")]
    [InlineData("zebra = 1\n[[rng]]\nsocket = 's'", "2:1: unknown name 'zebra' for 'vmm serve': there are command, reactors, cpus")]
    [InlineData("reactors = 'two'\n[[rng]]\nsocket = 's'", "2:12: 'reactors' is a text here: give a whole number without quotes")]
    [InlineData("reactors = 1.5\n[[rng]]\nsocket = 's'", "2:12: 'reactors' is a number with a fraction here: give a whole number")]
    [InlineData("core = 1\n[[rng]]\nsocket = 's'", "2:8: 'core' is a whole number here: give true or false")]
    [InlineData("cpus = [0, 1]\n[[rng]]\nsocket = 's'", "2:8: 'cpus' is an array here: give a text in quotes")]
    [InlineData("cpus = 1979-05-27\n[[rng]]\nsocket = 's'", "2:8: '1979-05-27' is a date or a time, which no setting takes")]
    [InlineData("[rng]\nsocket = 's'", "2:1: 'rng' is a table here: write [[rng]] and its keys below, once for each device")]
    [InlineData("disk = ['a']\n[[rng]]\nsocket = 's'", "2:9: 'disk' has a table for each device: write [[disk]]")]
    [InlineData("[[disk]]\nsocket = 's'\npath = 'p'\nro = 'yes'", "5:6: 'ro' is a text here: give true or false")]
    [InlineData("[[disk]]\nsocket = 's'\npath = 'p'\nqueues = 0", "5:10: --disk 'path=p,queues=0': 'queues=0': give a whole number from 1 to 256")]
    [InlineData("[[disk]]\nsocket = 's'\npath = 'p'\nreconnect = 5", "5:13: --disk: disk 'vda' has no server: leave out 'reconnect'")]
    [InlineData("[[disk]]\npath = 'p'", "2:1: --disk 'path=p': 'socket=…' is missing")]
    [InlineData("[[disk]]\nsocket = 's'\nro = true", "2:1: --disk ',ro': 'path=…' is missing")]
    [InlineData("reactors = 2\nreactors = 3\n[[rng]]\nsocket = 's'", "3:1: 'reactors' is given twice: it is there already (line 2)")]
    [InlineData("[[rng]]\nsocket = 's'\nsocket = 't'", "4:1: 'socket' is given twice")]
    [InlineData("[[rng]]\nsocket = 's'\n[rng]", "4:2: 'rng' is a list of tables since line 2: write [[rng]] for another one")]
    [InlineData("reactors =\n[[rng]]\nsocket = 's'", "2:11: the value of 'reactors' is missing after '='")]
    [InlineData("reactors\n[[rng]]\nsocket = 's'", "2:9: 'reactors' has no value: write reactors = …")]
    [InlineData("cpus = 0,1\n[[rng]]\nsocket = 's'", "2:9: there is ',' where the line should end")]
    [InlineData("cpus = zero\n[[rng]]\nsocket = 's'", "2:8: 'zero' is no value: give a number, true or false; a text stands in quotes, as in \"zero\"")]
    [InlineData("cpus = \"0\n[[rng]]\nsocket = 's'", "2:8: the text is not closed: write \" where it ends")]
    [InlineData("cpus = \"\\d\"\n[[rng]]\nsocket = 's'", "2:9: '\\' begins an escape such as")]
    [InlineData("[[rng\nsocket = 's'", "2:6: the header of table 'rng' is not closed: write [[rng]]")]
    [InlineData("[[rng]]\nsocket = 'é', 1", "3:13: there is ','")]
    [InlineData("cpus = 'a\u0001b'\n[[rng]]\nsocket = 's'", "2:10: there is U+0001, a control character")]
    [InlineData("reactors = 2\ncpus = '1,2,3'\n[[rng]]\nsocket = 's'", "3:8: --cpus '1,2,3': give at most one processor for each of the 2 reactors")]
    [InlineData("require-sealed = true\nallow-unsealed = true\n[[rng]]\nsocket = 's'", "2:18: --require-sealed and --allow-unsealed are opposites")]
    [InlineData("reactors = 2", "1:11: nothing to serve: give at least one device")]
    public void A_mistake_has_its_place_and_a_sentence(string text, string mistake)
    {
        VmmResult result = Check($"command = \"serve\"\n{text}\n", out string file);
        Assert.Equal(2, result.ExitCode);
        string line = Assert.Single(Lines(result.Error));
        Assert.StartsWith($"{file}:{mistake}", line);
    }

    [Fact]
    public void A_character_of_zero_is_no_digit()
    {
        VmmResult result = Check("command = \"serve\"\ncpus = \"\\ud80\0\"\n[[rng]]\nsocket = 's'\n", out string file);
        Assert.Equal(2, result.ExitCode);
        Assert.StartsWith($"{file}:2:9: \\u is followed by 4 hexadecimal digits", result.Error);
    }

    [Theory]
    [InlineData("", "1:1: 'command' is missing")]
    [InlineData("command = 'bench'", "1:11: there is no such command to configure: give command = \"run\"")]
    [InlineData("command = serve\nreactors = 2", "1:11: 'serve' is no value")]
    [InlineData("command = 'boot'", "1:11: --kernel is missing: name a Linux kernel, or a snapshot by --restore")]
    [InlineData("command = 'boot'\nkernel = vmlinuz", "2:10: 'vmlinuz' is no value")]
    [InlineData("command = 'boot'\nkernel = 'k'\nno-acpi = true\nvcpus = 2", "3:11: --no-acpi with --vcpus 2")]
    [InlineData("command = 'run'\n[[console]]\nterminal = true", "2:1: --console terminal: the terminal is the guest's shell's")]
    [InlineData("command = 'run'\nexec = 'frob'", "2:8: --exec 'frob': unknown command 'frob'")]
    [InlineData("command = 'run'\nexec = 'poweroff'\n[[console]]\npty = true\nuds = 's'", "5:7: --console 'pty,uds=s': give one endpoint")]
    [InlineData("command = 'run'\nexec = 'poweroff'\n[[console]]\nname = 'n'\npty = true\n[[console]]\nname = 'n'\nuds = 's'",
        "3:1: --console: console 'console0': two ports are called 'n'")]
    public void So_has_one_of_the_whole_file(string text, string mistake)
    {
        VmmResult result = Check(text, out string file);
        Assert.Equal(2, result.ExitCode);
        Assert.StartsWith($"{file}:{mistake}", Assert.Single(Lines(result.Error)));
    }

    [Fact]
    public void Every_mistake_is_reported_and_what_follows_from_another_is_not()
    {
        VmmResult result = Check("""
            command = "boot"
            kernal = "vmlinuz"
            vcpus = many
            memory = 1
            no-acpi = "true"
            append = "open
            z = [1,
              2

            [[disk]]
            path = "a.img"
            queues = 0
            cache = "no"
            [[disk]]
            path = "b.img" ro = true
            [net]
            tap = "vm0"
            """, out string file);
        Assert.Equal(2, result.ExitCode);
        string[] places = [.. Lines(result.Error).Select(line => line[file.Length..].Split(": ")[0])];
        Assert.Equal([":2:1", ":3:9", ":4:10", ":5:11", ":6:10", ":7:1", ":10:1", ":12:10", ":13:9", ":15:16", ":16:1"], places);
    }

    [Theory]
    [InlineData("none.toml", "does not exist")]
    [InlineData(".", "is a directory: name a file")]
    [InlineData("big.toml", "more than 1 MiB")]
    [InlineData("/dev/zero", "more than 1 MiB")]
    public void A_file_that_cannot_be_read_is_refused_in_a_sentence(string name, string word)
    {
        using (FileStream big = File.Create(_scratch.PathOf("big.toml"))) big.SetLength(1L << 30);
        string path = _scratch.PathOf(name);
        foreach (string[] arguments in (string[][])[["check", path], ["start", path], ["serve", "--config", path], ["config", "show", "run", "--config", path]])
        {
            VmmResult result = VmmProcess.Run(arguments);
            Assert.Equal(1, result.ExitCode);
            Assert.StartsWith($"vmm: the configuration file '{path}' ", Assert.Single(Lines(result.Error)));
            Assert.Contains(word, result.Error);
        }
    }

    [Fact]
    public void A_file_that_this_user_may_not_read_is_refused_in_a_sentence()
    {
        string path = Write("command = 'run'");
        File.SetUnixFileMode(path, UnixFileMode.None);
        VmmResult result = VmmProcess.RunWithoutCapabilities("check", path);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("may not be read by this user", result.Error);
    }

    [Fact]
    public void A_binary_file_is_one_mistake()
    {
        string path = _scratch.PathOf("vmm.toml");
        byte[] random = new byte[100_000];
        new Random(1).NextBytes(random);
        File.WriteAllBytes(path, [.. "command = 'run'\n"u8, 0xff, .. random]);
        VmmResult result = VmmProcess.Run("check", path);
        Assert.Equal(2, result.ExitCode);
        Assert.StartsWith($"{path}:2:1: the byte 0xff is no UTF-8", Assert.Single(Lines(result.Error)));
    }

    [Fact]
    public void A_byte_order_mark_and_ends_of_lines_as_on_other_systems_are_no_mistakes()
    {
        string path = _scratch.PathOf("vmm.toml");
        File.WriteAllBytes(path, [0xef, 0xbb, 0xbf, .. "command = \"serve\"\r\n# é\r\n[[rng]]\r\nsocket = \"s\"\r\nburst = 1\r\n"u8]);
        VmmResult result = VmmProcess.Run("check", path);
        Assert.Equal($"{path}:5:9: --rng 'burst=1': 'burst' is for a limit: give 'limit=iops=N' or 'limit=bytes=N' too", result.Error.Trim());
    }

    [Fact]
    public void A_check_opens_nothing()
    {
        // Who opens a pipe that has no other end waits for one.
        string pipe = _scratch.PathOf("pipe");
        Shell.Run("mkfifo", pipe);
        File.WriteAllText(_scratch.PathOf("taken.sock"), "");
        string path = Write($"""
            command = "serve"
            [[disk]]
            path = "{pipe}"
            socket = "{_scratch.PathOf("taken.sock")}"
            [[console]]
            file = "{_scratch.PathOf("console.log")}"
            socket = "{_scratch.PathOf("console.sock")}"
            [[vsock]]
            cid = 3
            uds = "{_scratch.PathOf("vsock")}"
            socket = "{_scratch.PathOf("none/vsock.sock")}"
            """);
        string[] before = Directory.GetFileSystemEntries(_scratch.PathOf(""));
        VmmResult result = VmmProcess.Run("check", path);
        Assert.Equal((0, "", ""), (result.ExitCode, result.Output, result.Error));
        Assert.Equal(0, VmmProcess.Run("config", "show", "serve", "--config", path).ExitCode);
        Assert.Equal(before, Directory.GetFileSystemEntries(_scratch.PathOf("")));
    }

    /// <summary>What QEMU and libvirt say when they start a server themselves: they have no file.</summary>
    private static readonly string[] OfConvention = ["socket-path", "fd", "blk-file", "read-only", "print-capabilities"];

    [Fact]
    public void Every_option_of_every_command_can_be_said_in_a_file()
    {
        foreach (string command in Commands)
        {
            string[] options = [.. LongOption().Matches(VmmProcess.Run(command, "--help").Output).Select(match => match.Groups[1].Value)
                .Except(["help", "config", "print-qemu", .. OfConvention]).Order()];
            Assert.True(options.Length > 10, command);
            JsonElement properties = SchemaOf(command).GetProperty("properties");
            Assert.Equal(options, properties.EnumerateObject().Select(property => property.Name).Except(["command"]).Order());
            StringBuilder scalars = new($"command = \"{command}\"\n"), tables = new();
            foreach (JsonProperty setting in properties.EnumerateObject().Where(setting => setting.Name != "command"))
            {
                if (IsScalar(setting.Value)) scalars.Append($"{setting.Name} = {Sample(setting.Name, setting.Value)}\n");
                else tables.Append(Devices(setting.Name, setting.Value));
            }
            // What one says of another is wrong in places; that there is no such name, or that it takes another kind of value, is not said.
            string path = Write($"{scalars}{tables}");
            string complaints = VmmProcess.Run("check", path).Error;
            Assert.DoesNotContain("unknown", complaints);
            Assert.DoesNotContain(" here: ", complaints);
        }
    }

    [Fact]
    public void The_command_line_wins()
    {
        string ours = _scratch.PathOf("ours.sock"), theirs = _scratch.PathOf("theirs.sock");
        string path = Write($"""
            command = "serve"
            reactors = 2
            cpus = "0,1"
            [[rng]]
            socket = "{theirs}"
            """);
        VmmResult shown = VmmProcess.Run("config", "show", "serve", "--config", path, "--rng", $"socket={ours}", "--reactors=3");
        Assert.Equal(0, shown.ExitCode);
        Assert.Equal(
        [
            $"command = \"serve\" # {path}:1", "reactors = 3 # command line", $"cpus = \"0,1\" # {path}:3", "#poll-max-us = 0 # default",
            "#require-sealed = true # default", "#allow-unsealed = false # default", "#map-max = 4096 # default", "#isolate = false # default", "#slow-ms = 100 # default",
            "#log = \"text\" # default",
            "#core = false # default", "#sandbox = \"auto\" # default", "#sandbox-action = \"errno\" # default", "[[rng]] # command line", $"socket = \"{ours}\"",
        ], shown.Lines.Select(line => Spaces().Replace(line, " ")));
        // Options that do not fit together are refused wherever they stand.
        VmmResult refused = VmmProcess.Run("serve", "--config", path, "--reactors", "1");
        Assert.Equal(2, refused.ExitCode);
        Assert.StartsWith($"{path}:3:8: --cpus '0,1'", refused.Error);
        using VmmProcess vmm = new("serve", "--config", path, "--rng", $"socket={ours}", "--reactors=3");
        vmm.WaitFor($"listening rng {ours}");
        Assert.False(File.Exists(theirs));
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_file_may_lack_what_the_command_line_has()
    {
        string path = Write("command = 'boot'\nvcpus = 2\n");
        Assert.Equal(2, VmmProcess.Run("check", path).ExitCode);
        VmmResult shown = VmmProcess.Run("config", "show", "boot", "--config", path, "--kernel", "k");
        Assert.Equal((0, ""), (shown.ExitCode, shown.Error));
    }

    [Fact]
    public void What_is_shown_is_a_file_that_says_the_same()
    {
        string[] arguments =
        [
            "boot", "--kernel", "my kernel", "--append", "a=\"b\\c\" d\t", "--no-acpi", "--disk", "a,,b.img,ro,limit=iops=5,bytes=1M,burst=.5", "--disk",
            "path=nbd://h/e,reconnect=forever", "--rng", "--balloon", "target=64", "--console", "pty,keep=5M", "--vsock", "cid=3,uds=v", "--stats=JSON",
        ];
        VmmResult first = VmmProcess.Run(["config", "show", .. arguments]);
        Assert.Equal((0, ""), (first.ExitCode, first.Error));
        string path = Write(first.Output);
        VmmResult second = VmmProcess.Run("config", "show", "boot", "--config", path);
        Assert.Equal((0, ""), (second.ExitCode, second.Error));
        Assert.Equal(first.Lines.Select(line => line.Split(" # ")[0].TrimEnd()), second.Lines.Select(line => line.Split(" # ")[0].TrimEnd()));
        Assert.Contains("path = \"a,b.img\"", second.Lines);
        Assert.Contains("burst = 0.5", second.Lines);
    }

    [Fact]
    public void A_file_is_started_by_its_own_command_or_with_options_beside_it()
    {
        string path = Write("command = \"run\"\nexec = \"lsdev; poweroff\"\nrng = false\n[[disk]]\npath = \"null:1M\"\nro = true\n");
        VmmResult byFile = VmmProcess.Run("start", path);
        Assert.Equal(0, byFile.ExitCode);
        Assert.DoesNotContain("rng0", byFile.Output);
        Assert.Contains("balloon0", byFile.Output);
        Assert.Contains("rng0", VmmProcess.Run("run", "--config", path, "--rng").Output);
        VmmResult other = VmmProcess.Run("serve", "--config", path, "--rng", "socket=s");
        Assert.Equal(2, other.ExitCode);
        Assert.Equal($"{path}:1:11: the file is for 'vmm run', and not for 'vmm serve'", other.Error.Trim());
    }

    [Fact]
    public void A_relative_path_begins_at_the_working_directory_and_a_failure_says_so()
    {
        string path = Write("command = \"run\"\nexec = \"poweroff\"\n[[disk]]\npath = \"none.img\"\n");
        VmmResult result = VmmProcess.Run("start", path);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains($"relative paths of a configuration file begin at the working directory, '{Environment.CurrentDirectory}'", result.Error);
        VmmResult absolute = VmmProcess.Run("run", "--exec", "poweroff", "--disk", "none.img");
        Assert.DoesNotContain("working directory", absolute.Error);
    }

    [Fact]
    public void The_examples_of_the_page_make_sense_and_fit_the_schema()
    {
        string page = File.ReadAllText(Repository.PathOf("docs/configuration.md"));
        string[] examples = [.. Example().Matches(page).Select(match => match.Groups[1].Value)];
        Assert.Equal(2, examples.Length);
        foreach (string example in examples)
        {
            VmmResult result = Check(example, out string file);
            Assert.Equal((0, "", ""), (result.ExitCode, result.Output, result.Error));
            Assert.Equal("", Validate(file));
        }
    }

    [Fact]
    public void The_schema_is_the_one_of_the_command_tree()
    {
        string made = VmmProcess.Run("config", "schema").Output;
        string path = Repository.PathOf(Schema);
        if (Environment.GetEnvironmentVariable("VMM_ACCEPT_SCHEMA") is { Length: > 0 }) File.WriteAllText(path, made);
        Assert.True(made == File.ReadAllText(path), $"{Schema} is another one: run this test with VMM_ACCEPT_SCHEMA=1, and review the difference");
    }

    [Theory]
    [InlineData("command = 'serve'\n[[disk]]\npath = 'p'\nsocket = 's'\niops = 5\nbytes = '1M'\nburst = 0.5", true)]
    [InlineData("command = 'run'\nrng = false\n[balloon]\ntarget = 5", true)]
    [InlineData("command = 'run'\n[[net]]\nmtu = 1500", false)]
    [InlineData("command = 'boot'", false)]
    [InlineData("command = 'serve'\nreactors = 0\n[[rng]]\nsocket = 's'", false)]
    [InlineData("command = 'serve'\n[[disk]]\npath = 'p'\nsocket = 's'\ncache = 'no'", false)]
    [InlineData("command = 'run'\nfrob = 1", false)]
    [InlineData("reactors = 1", false)]
    public void The_schema_and_the_check_agree(string text, bool makesSense)
    {
        VmmResult result = Check(text, out string file);
        Assert.Equal(makesSense, result.ExitCode == 0);
        Assert.Equal(makesSense, Validate(file).Length == 0);
    }

    public void Dispose() => _scratch.Dispose();

    private VmmResult Check(string text, out string file) => VmmProcess.Run("check", file = Write(text));

    private string Write(string text)
    {
        string path = _scratch.PathOf("vmm.toml");
        File.WriteAllText(path, text);
        return path;
    }

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static JsonElement SchemaOf(string command) => JsonDocument.Parse(File.ReadAllText(Repository.PathOf(Schema))).RootElement
        .GetProperty("oneOf").EnumerateArray().Single(each => each.GetProperty("title").GetString() == $"vmm {command}");

    private static bool IsScalar(JsonElement setting) => !setting.TryGetProperty("items", out _) && !setting.TryGetProperty("anyOf", out _)
        && setting.GetProperty("type").GetString() != "object";

    /// <summary>A table for each key of a device, beside those it needs.</summary>
    private static string Devices(string name, JsonElement setting)
    {
        bool isRepeatable = setting.TryGetProperty("items", out JsonElement table);
        if (!isRepeatable) table = setting.TryGetProperty("anyOf", out JsonElement either) ? either[1] : setting;
        JsonProperty[] keys = [.. table.GetProperty("properties").EnumerateObject()];
        HashSet<string> needed = [.. table.GetProperty("required").EnumerateArray().Select(key => key.GetString()!)];
        StringBuilder text = new();
        foreach (JsonProperty one in isRepeatable ? keys : keys[^1..])
        {
            text.Append(isRepeatable ? $"[[{name}]]\n" : $"[{name}]\n");
            foreach (JsonProperty key in keys.Where(key => key.Name == one.Name || !isRepeatable || needed.Contains(key.Name)))
                text.Append($"{key.Name} = {Sample(key.Name, key.Value)}\n");
        }
        return text.ToString();
    }

    private static string Sample(string name, JsonElement schema)
    {
        if (schema.TryGetProperty("default", out JsonElement standard)) return standard.GetRawText();
        if (schema.TryGetProperty("enum", out JsonElement words)) return words[0].GetRawText();
        if (schema.TryGetProperty("anyOf", out JsonElement either)) return Sample(name, either[0]);
        JsonElement type = schema.GetProperty("type");
        return (type.ValueKind == JsonValueKind.Array ? type[0] : type).GetString() switch
        {
            "boolean" => "true",
            "integer" => "8",
            "number" => "0.5",
            _ => name switch { "cpus" => "'0'", "mac" => "'02:00:00:00:00:01'", "exec" => "'poweroff'", _ => "'x'" },
        };
    }

    /// <summary>What another program says of a file and the schema; nothing if it fits.</summary>
    private static string Validate(string file)
    {
        const string Program = """
            import json, sys, tomllib
            from jsonschema import Draft7Validator
            schema = json.load(open(sys.argv[1]))
            Draft7Validator.check_schema(schema)
            for error in Draft7Validator(schema).iter_errors(tomllib.load(open(sys.argv[2], "rb"))): print(error.message)
            """;
        return Shell.Run("python3", "-c", Program, Repository.PathOf(Schema), file);
    }

    [GeneratedRegex("```toml\n(command.*?)```", RegexOptions.Singleline)]
    private static partial Regex Example();

    [GeneratedRegex("(?:^  |, )--([a-z][a-z-]*)", RegexOptions.Multiline)]
    private static partial Regex LongOption();

    [GeneratedRegex(" +")]
    private static partial Regex Spaces();
}
