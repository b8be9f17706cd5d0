using System.Reflection;
using Vmm.Profile;
using Vmm.Tests.House;

namespace Vmm.Devices.Tests.House;

/// <summary>The profile that the native compiler is given (decision 226).</summary>
public sealed class ProfileTests
{
    private const int EdgeCount = 385;
    private const int TypeHistogram = 195;

    [Fact]
    public void Its_methods_still_exist()
    {
        IReadOnlyList<ProfiledMethod> methods = ProfileReader.Read(RepositoryTree.PathOf("tools", "vmm", "profile", "vmm.mibc"));
        int exist = methods.Count(method => method.Method is not null);
        Assert.True(methods.Count >= 100, $"the profile has {methods.Count} methods: ./tools/profile.sh makes it anew");
        Assert.True(exist >= methods.Count * 0.7, $"{exist} of {methods.Count} methods exist: run ./tools/profile.sh, and commit its file");
    }

    [Fact]
    public void What_is_written_is_read_back()
    {
        string file = Path.GetTempFileName();
        MethodBase method = typeof(Queue<int>).GetMethod("Enqueue")!;
        MethodBase constructor = typeof(Version).GetConstructor([typeof(int), typeof(int)])!;
        ProfileWriter writer = new("test");
        Probe types = new(TypeHistogram, 8, 0, ["TypeHandle: NULL", "TypeHandle: No.Such, Type"]);
        writer.Add(method, [new Probe(EdgeCount, 7, 9, ["1000000"]), types]);
        writer.Add(constructor, []);
        writer.Save(file);
        IReadOnlyList<ProfiledMethod> methods = ProfileReader.Read(file);
        File.Delete(file);
        Assert.Equal([method, constructor], methods.Select(read => read.Method));
        Assert.Equal([15, 7, EdgeCount, 1, 9, 1000000, 15, 8, TypeHistogram, 2, 0, 0, 1], methods[0].Data);
        Assert.Empty(methods[1].Data);
    }

    [Fact]
    public void The_runtimes_text_names_methods_that_are_found()
    {
        const string Text = """
            *** START PGO Data, max index = 1 ***
            @@@ codehash 0x00000000 methodhash 0x00000000 ilSize 0x{0} records 0x00000001
            MethodName: Vmm.Devices.BlockQueue.Serve
            Signature: instance void  ()
            Schema InstrumentationKind 385 ILOffset 0 Count 1 Other 3
            12
            *** END PGO Data ***
            """;
        MethodInfo serve = typeof(BlockQueue).GetMethod(nameof(BlockQueue.Serve))!;
        int bytes = serve.GetMethodBody()!.GetILAsByteArray()!.Length;
        MethodFinder finder = new(typeof(BlockQueue).Assembly);
        string text = Text.Replace("{0}", bytes.ToString("X8"), StringComparison.Ordinal);
        MeasuredMethod measured = Assert.Single(MeasuredText.Read(new StringReader(text)));
        Assert.Equal(12, measured.LargestCount);
        Assert.Equal([serve], finder.Find(measured));
        Assert.Empty(finder.Find(measured with { ByteCount = bytes + 1 }));
    }
}
