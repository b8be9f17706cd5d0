namespace Vmm.Benchmarks;

/// <summary>The bare loop: a <c>read</c> or a <c>write</c> of a TAP for each frame.</summary>
internal sealed class TapBaseline : IContender
{
    private readonly bool _toGuest;
    private readonly int _frame;
    private readonly nint _tap;
    private long _waiting;

    internal TapBaseline(bool toGuest, int frame)
    {
        _toGuest = toGuest;
        _frame = frame;
        _tap = TapLibrary.Create(TapLibrary.NewName(), frame);
        Prepare();
    }

    public int Quantum => NetContender.Batch;

    public void Prepare()
    {
        if (!_toGuest) return;
        TapLibrary.Fill(TapLibrary.OtherOf(_tap), _frame, TapLibrary.FillTo - _waiting);
        _waiting = TapLibrary.FillTo;
    }

    public void Run(long operations)
    {
        if (!_toGuest)
        {
            TapLibrary.Write(_tap, operations);
            return;
        }
        TapLibrary.Read(_tap, operations);
        _waiting -= operations;
    }

    public void Dispose() => TapLibrary.Destroy(_tap);
}
