using Vmm.Tool;

namespace Vmm.EndToEnd;

/// <summary>Ctrl-A (1) is ours, everything else the guest's.</summary>
public sealed class ConsoleKeysTests
{
    [Theory]
    [InlineData("abc", "abc", false)]
    [InlineData("", "", false)]
    [InlineData("\u0001x", "", true)]
    [InlineData("ab\u0001xcd", "ab", true)]
    [InlineData("\u0001\u0001", "\u0001", false)]
    [InlineData("\u0001\u0001x", "\u0001x", false)]
    [InlineData("\u0001\u0001\u0001x", "\u0001", true)]
    // What is no command of ours goes to the guest, with what came before it.
    [InlineData("\u0001b", "\u0001b", false)]
    [InlineData("x\u0003\u001c", "x\u0003\u001c", false)]
    public void Keys_go_to_the_guest_but_for_the_ones_that_leave(string typed, string toGuest, bool leave)
    {
        Assert.Equal((toGuest, leave), Filter([typed]));
        // Wherever a read ends.
        Assert.Equal((toGuest, leave), Filter([.. typed.Select(key => $"{key}")]));
    }

    private static (string ToGuest, bool Leave) Filter(string[] reads)
    {
        string all = "";
        bool escaped = false;
        foreach (string read in reads)
        {
            byte[] room = new byte[read.Length + 1];
            int length = ConsoleKeys.Filter([.. read.Select(key => (byte)key)], room, ref escaped, out bool leave);
            all += string.Concat(room.Take(length).Select(key => (char)key));
            if (leave) return (all, true);
        }
        return (all, false);
    }
}
