namespace Vmm.Devices.Tests;

/// <summary>What a process knows of its descriptors, and does to them. Others open descriptors too: alone.</summary>
[Collection(Alone.Name)]
public sealed class ProcessDescriptorsTests
{
    [Fact]
    public void Room_is_made_once_and_takes_no_descriptor()
    {
        int count = (int)Math.Min(5000, ProcessDescriptors.Limit - 1);
        int before = OpenDescriptors.Count();
        ProcessDescriptors.MakeRoom(count);
        // FDSize of proc(5), status: how many the table has room for.
        string room = File.ReadLines("/proc/self/status").Single(line => line.StartsWith("FDSize:", StringComparison.Ordinal));
        Assert.True(int.Parse(room.Split('\t')[1]) > count, room);
        Assert.Equal(before, OpenDescriptors.Count());
    }

    [Fact]
    public void More_than_the_limit_is_the_limit()
    {
        int before = OpenDescriptors.Count();
        ProcessDescriptors.MakeRoom(int.MaxValue);
        Assert.Equal(before, OpenDescriptors.Count());
        Assert.Throws<ArgumentOutOfRangeException>(() => ProcessDescriptors.MakeRoom(-1));
    }
}
