using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>
/// A SIGBUS that no front-end's memory raised ends the process just as it did before there was a handler: this program again, which reads a page
/// that its file has lost.
/// </summary>
[Collection(Alone.Name)]
public sealed class ForeignBusErrorTests
{
    private const string Touch = "VMM_TEST_TOUCH_LOST_PAGE", Guarded = "with the guard";

    [Fact]
    public void A_bus_error_of_other_memory_goes_to_the_handler_that_was_there_before()
    {
        string without = End("without it");
        // The runtime's handler: a core dump's signal, and no endless repetition of the access.
        Assert.StartsWith("it touches the page\n", without);
        Assert.Matches(@"\ncode 13[45]\n$", without);
        Assert.Equal(without, End(Guarded));
    }

    private static string End(string how)
    {
        string program = Path.ChangeExtension(typeof(ForeignBusErrorTests).Assembly.Location, null);
        (int code, string output) = HostCommand.Run("sh", "-c", $"{Touch}='{how}' timeout 120 '{program}' 2>/dev/null; echo code $?");
        Assert.Equal(0, code);
        return output;
    }

    /// <summary>Runs before the test runner does, in the process that is to crash.</summary>
    [ModuleInitializer]
    internal static void TouchIfAsked()
    {
        if (Environment.GetEnvironmentVariable(Touch) is not { } how) return;
        const int Bytes = 4096;
        OwnedFd file = new(MemoryCalls.MemfdCreate("lost", MemoryCalls.MFD_CLOEXEC));
        if (MemoryCalls.Truncate(file.Number, Bytes) != 0) throw new InvalidOperationException("no file");
        nint page = MemoryCalls.Map(0, Bytes, MemoryCalls.PROT_READ | MemoryCalls.PROT_WRITE, MemoryCalls.MAP_SHARED, file.Number, 0);
        if (how == Guarded)
        {
            using EventFd lost = new();
            // Beside it, and once where it was: what was released is not guarded any more.
            BusErrorGuard.Protect(page + Bytes, Bytes, lost);
            BusErrorGuard.Release(BusErrorGuard.Protect(page, Bytes, lost));
        }
        if (MemoryCalls.Truncate(file.Number, 0) != 0) throw new InvalidOperationException("the file stays");
        Console.WriteLine("it touches the page");
        Console.WriteLine($"it went on: {Marshal.ReadByte(page).ToString(CultureInfo.InvariantCulture)}");
        Environment.Exit(0);
    }
}
