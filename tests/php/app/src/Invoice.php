<?php
class Invoice
{
    public static function total(array $cents, int $taxPercent): int
    {
        return (int) round(array_sum($cents) * (100 + $taxPercent) / 100);
    }
}
