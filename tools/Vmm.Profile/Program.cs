using System.CommandLine;
using System.Reflection;
using Vmm.Profile;

Argument<string> counts = new("counts") { Description = "what the runtime wrote (DOTNET_WritePGOData=1 DOTNET_PGODataPath=FILE)" };
Argument<string> profile = new("profile") { Description = "a profile of the native compiler, .mibc" };
Option<long> least = new("--least")
{
    Description = "leave out methods of which no place was passed so often",
    DefaultValueFactory = _ => 10_000
};
Command make = new("make", "Makes a profile of what the runtime counted.") { counts, profile, least };
Command check = new("check", "Says how many of the methods that a profile names exist.") { profile };
make.SetAction(parsed => Make(parsed.GetValue(counts)!, parsed.GetValue(profile)!, parsed.GetValue(least)));
check.SetAction(parsed => Check(parsed.GetValue(profile)!));
RootCommand command = new("Makes the profile of the native file: tools/profile.sh records what it is made of.") { make, check };
return command.Parse(args).Invoke();

static void Make(string counts, string profile, long least)
{
    using StreamReader text = File.OpenText(counts);
    MeasuredMethod[] frequent = [.. MeasuredText.Read(text).Where(method => method.LargestCount >= least)];
    MethodFinder finder = new(Assembly.Load("vmm"));
    ProfileWriter writer = new(Path.GetFileNameWithoutExtension(profile));
    int found = 0;
    foreach (MeasuredMethod measured in frequent)
    {
        IReadOnlyList<MethodBase> methods = finder.Find(measured);
        foreach (MethodBase method in methods)
            writer.Add(method, measured.Probes);
        if (methods.Count > 0)
        {
            found++;
        }
        else
        {
            Console.WriteLine($"left out: {measured.Name} {measured.Signature}, {measured.LargestCount} times");
        }
    }
    writer.Save(profile);
    Console.WriteLine($"{found} of {frequent.Length} methods are in {profile}, {new FileInfo(profile).Length} bytes");
}

static int Check(string profile)
{
    IReadOnlyList<ProfiledMethod> methods = ProfileReader.Read(profile);
    ProfiledMethod[] gone = [.. methods.Where(method => method.Method is null)];
    foreach (ProfiledMethod method in gone)
        Console.WriteLine($"gone: {method.Name}");
    Console.WriteLine($"{methods.Count - gone.Length} of {methods.Count} methods exist");
    return gone.Length > 0 ? 1 : 0;
}
